// SPDX-License-Identifier: MIT
import java.io.FileWriter;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Sums in a pool of threads; appends "N sum" to the file named, every 10 ms. */
public class Ticker {
	static long sum(long n) {
		long total = 0;
		for (long i = 1; i <= n; i++)
			total += i;
		return total;
	}

	public static void main(String[] args) throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(4);
		try (FileWriter out = new FileWriter(args[0])) {
			for (long n = 1;; n++) {
				final long number = n;
				Future<Long> result = pool.submit(() -> sum(number));
				out.write(n + " " + result.get() + "\n");
				out.flush();
				byte[] garbage = new byte[1 << 18];
				garbage[(int) (n % garbage.length)] = 1;
				Thread.sleep(10);
			}
		}
	}
}
