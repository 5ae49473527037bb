# SPDX-License-Identifier: MIT
# One build: `make` the programs, `make demo`, `make check`. See README.md.

CC ?= gcc
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
PACKAGES = libprotobuf-c nanomsg libcap liblz4
WARN = -Wall -Wextra -Wshadow -Wmissing-prototypes -Werror
OPT ?= -O2 -g
CFLAGS += -std=gnu11 $(OPT) $(WARN) -D_GNU_SOURCE -I. -I$(BUILD) -MMD -MP $(SAN) \
	$(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
# Each program is started with what it uses.
LDLIBS = -Wl,--as-needed $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lpthread
SAN ?=

PROTOS = proto/control/control.proto proto/control/trace.proto $(wildcard proto/images/*.proto)
PB_C = $(PROTOS:%.proto=$(BUILD)/%.pb-c.c)
PB_H = $(PROTOS:%.proto=$(BUILD)/%.pb-c.h)

# Sources, listed per library.
CONTROL = proto/control/fault.c proto/control/util.c proto/control/bus.c proto/control/fdplane.c \
	proto/control/socket_list.c
IMAGES = proto/images/types.c proto/images/image.c proto/images/check.c proto/images/style.c \
	proto/images/print.c proto/images/show.c
COMMON = $(wildcard workers/common/*.c)
MEM = $(filter-out workers/mem/main.c,$(wildcard workers/mem/*.c))
NET = $(filter-out workers/net/main.c,$(wildcard workers/net/*.c workers/net/*/*.c))
GPU = $(filter-out workers/gpu/main.c,$(wildcard workers/gpu/*.c workers/gpu/*/*.c))
FILES = $(filter-out workers/files/main.c,$(wildcard workers/files/*.c))
COORDINATOR = $(filter-out coordinator/main.c,$(wildcard coordinator/*.c))

obj = $(1:%.c=$(BUILD)/%.o)
LIB = $(call obj,$(CONTROL) $(IMAGES) $(COMMON)) $(PB_C:.c=.o) build/pie/agent_blob.o
PROGRAMS = stasis stasis-mem stasis-files stasis-net stasis-gpu
# What plugins find in us, and nothing else.
HOST_API = -Wl,--dynamic-list=workers/gpu/host.symbols
SAN_LIB = $(if $(SAN),$(BUILD)/tests/sanitizer.o)

.PHONY: all deps demo check check-all asan bench zdtm fmt lint install clean
.SECONDARY:

all: deps
	@$(MAKE) --no-print-directory programs

programs: $(PROGRAMS:%=$(BUILD)/%)

include pie/rules.mk
include tests/vm/rules.mk

$(BUILD)/libstasis.a: $(LIB)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/stasis: $(BUILD)/coordinator/main.o $(call obj,$(COORDINATOR) $(MEM) $(FILES) $(NET) $(GPU)) $(SAN_LIB) $(BUILD)/libstasis.a
	$(CC) $(SAN) $(HOST_API) -o $@ $^ $(LDLIBS)

$(BUILD)/stasis-mem: $(BUILD)/workers/mem/main.o $(call obj,$(MEM)) $(SAN_LIB) $(BUILD)/libstasis.a
	$(CC) $(SAN) -o $@ $^ $(LDLIBS)

$(BUILD)/stasis-files: $(BUILD)/workers/files/main.o $(call obj,$(FILES)) $(SAN_LIB) $(BUILD)/libstasis.a
	$(CC) $(SAN) -o $@ $^ $(LDLIBS)

$(BUILD)/stasis-net: $(BUILD)/workers/net/main.o $(call obj,$(NET)) $(SAN_LIB) $(BUILD)/libstasis.a
	$(CC) $(SAN) -o $@ $^ $(LDLIBS)

$(BUILD)/stasis-gpu: $(BUILD)/workers/gpu/main.o $(call obj,$(GPU)) $(SAN_LIB) $(BUILD)/libstasis.a
	$(CC) $(SAN) $(HOST_API) -o $@ $^ $(LDLIBS)

$(BUILD)/%.pb-c.c $(BUILD)/%.pb-c.h: %.proto
	@mkdir -p $(BUILD)
	protoc-c -I. --c_out=$(BUILD) $<

$(BUILD)/%.o: %.c | $(PB_H)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/%.pb-c.o: $(BUILD)/%.pb-c.c | $(PB_H)
	$(CC) -std=gnu11 $(OPT) -I. -I$(BUILD) -w -c -o $@ $<

deps:
	@tests/harness/deps.sh build

demo: all
	@tests/harness/deps.sh demo
	tests/harness/demo.sh $(BUILD)/stasis

UNIT = $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*_test.c))
CASES = $(patsubst tests/cr/%.c,$(BUILD)/tests/cr/%,$(wildcard tests/cr/*.c))
TASKS = $(patsubst tests/programs/%.c,$(BUILD)/tests/programs/%,$(wildcard tests/programs/*.c))

# What unit tests share: their counts, a GPU in memory, tasks to try a worker on.
UNIT_SHARED = tests/unit/check.c $(wildcard tests/fake/*.c tests/world/*.c)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(call obj,$(UNIT_SHARED) $(COORDINATOR) $(MEM) $(FILES) $(NET) $(GPU)) $(BUILD)/libstasis.a
	$(CC) $(SAN) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/cr/%: tests/cr/%.c tests/case.c tests/case.h $(wildcard tests/cr/*.h)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARN) -D_GNU_SOURCE -I. -o $@ $< tests/case.c -lpthread -lcap

$(BUILD)/tests/programs/%: tests/programs/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARN) -D_GNU_SOURCE -I. -o $@ $< -lpthread

# Stand-ins for NVIDIA's parts: tests/cuda/standin.h.
CUDA = $(BUILD)/tests/cuda/libcuda.so.1 $(BUILD)/tests/cuda/cuda-checkpoint $(BUILD)/tests/cuda/task

$(BUILD)/tests/cuda/libcuda.so.1: tests/cuda/libcuda.c tests/cuda/standin.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARN) -D_GNU_SOURCE -I. -shared -fPIC -o $@ $< -lpthread

$(BUILD)/tests/cuda/cuda-checkpoint: tests/cuda/program.c tests/cuda/standin.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARN) -D_GNU_SOURCE -I. -o $@ $<

$(BUILD)/tests/cuda/%: tests/cuda/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARN) -D_GNU_SOURCE -I. -o $@ $<

tests: $(UNIT) $(CASES) $(TASKS) $(CUDA)

check: all
	@tests/harness/deps.sh check
	@$(MAKE) --no-print-directory tests
	@tests/harness/check.sh $(BUILD)

check-all: all
	@tests/harness/deps.sh check
	@$(MAKE) --no-print-directory tests
	@tests/harness/check.sh $(BUILD) all

# A build of its own with the sanitizers, and what shows memory errors run with it.
asan:
	@tests/harness/deps.sh check
	@$(MAKE) --no-print-directory BUILD=build-asan SAN="-fsanitize=address,undefined \
		-fno-sanitize-recover=undefined" OPT="-O1 -g -fno-omit-frame-pointer" programs tests
	@$(MAKE) --no-print-directory tests
	@tests/harness/check.sh build-asan asan

bench: all
	@$(MAKE) --no-print-directory tests
	tests/bench/bench.py --stasis $(BUILD)/stasis $(if $(CRIU),--criu $(CRIU))

zdtm: all
	@test -n "$(CRIU_SRC)" || { echo "usage: make zdtm CRIU_SRC=checkout of CRIU"; exit 2; }
	tests/zdtm/run.sh $(CRIU_SRC) $(abspath $(BUILD)/stasis) $(TESTS)

fmt:
	clang-format -i $$(git ls-files '*.c' '*.h')

lint:
	@tests/harness/lint.sh

install: all
	install -d $(DESTDIR)$(PREFIX)/sbin
	install -m 755 $(PROGRAMS:%=$(BUILD)/%) $(DESTDIR)$(PREFIX)/sbin/

clean:
	rm -rf build build-asan

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
