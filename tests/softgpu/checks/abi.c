// SPDX-License-Identifier: MIT
/*
 * abi.c - ioctl codes and structure sizes as we know them, against a set of headers.
 *
 * Built twice: with the headers of the kernel that the module is built against (KERNEL_UAPI), and
 * with those of libdrm-dev and linux-libc-dev. The module takes its numbers from the former,
 * programs from the latter, the gpu worker from its own header: the literals here are what all of
 * them must mean.
 */
#include <stdio.h>

#ifdef KERNEL_UAPI
#include "drm/drm.h"
#include "drm/amdgpu_drm.h"
#include "linux/kfd_ioctl.h"
#define HEADERS "of the machine's kernel"
#else
#include <amdgpu_drm.h>
#include <linux/kfd_ioctl.h>
#define HEADERS "of this system"
#endif

struct row {
	const char *name;
	unsigned long is, known;
};
#define CODE(name, known) { #name, (name), (known) }
#define SIZE(name, known) { "sizeof " #name, sizeof(struct name), (known) }

static const struct row rows[] = {
	CODE(AMDKFD_IOC_GET_VERSION, 0x80084b01),
	CODE(AMDKFD_IOC_CREATE_QUEUE, 0xc0584b02),
	CODE(AMDKFD_IOC_DESTROY_QUEUE, 0xc0084b03),
	CODE(AMDKFD_IOC_UPDATE_QUEUE, 0x40184b07),
	CODE(AMDKFD_IOC_CREATE_EVENT, 0xc0204b08),
	CODE(AMDKFD_IOC_DESTROY_EVENT, 0x40084b09),
	CODE(AMDKFD_IOC_SET_EVENT, 0x40084b0a),
	CODE(AMDKFD_IOC_RESET_EVENT, 0x40084b0b),
	CODE(AMDKFD_IOC_WAIT_EVENTS, 0xc0184b0c),
	CODE(AMDKFD_IOC_GET_PROCESS_APERTURES_NEW, 0xc0104b14),
	CODE(AMDKFD_IOC_ACQUIRE_VM, 0x40084b15),
	CODE(AMDKFD_IOC_ALLOC_MEMORY_OF_GPU, 0xc0284b16),
	CODE(AMDKFD_IOC_FREE_MEMORY_OF_GPU, 0x40084b17),
	CODE(AMDKFD_IOC_MAP_MEMORY_TO_GPU, 0xc0184b18),
	CODE(AMDKFD_IOC_UNMAP_MEMORY_FROM_GPU, 0xc0184b19),
	CODE(AMDKFD_IOC_GET_DMABUF_INFO, 0xc0204b1c),
	CODE(AMDKFD_IOC_IMPORT_DMABUF, 0xc0184b1d),
	CODE(AMDKFD_IOC_SVM, 0xc0184b20),
	CODE(AMDKFD_IOC_SET_XNACK_MODE, 0xc0044b21),
	CODE(AMDKFD_IOC_CRIU_OP, 0xc0384b22),
	CODE(AMDKFD_IOC_AVAILABLE_MEMORY, 0xc0104b23),
#ifdef AMDKFD_IOC_EXPORT_DMABUF
	CODE(AMDKFD_IOC_EXPORT_DMABUF, 0xc0104b24),
#endif
	SIZE(kfd_ioctl_criu_args, 56),
	SIZE(kfd_criu_device_bucket, 16),
	SIZE(kfd_criu_bo_bucket, 48),
	CODE(DRM_IOCTL_PRIME_HANDLE_TO_FD, 0xc00c642d),
	CODE(DRM_IOCTL_PRIME_FD_TO_HANDLE, 0xc00c642e),
	CODE(DRM_IOCTL_GEM_CLOSE, 0x40086409),
	CODE(DRM_IOCTL_AMDGPU_GEM_CREATE, 0xc0206440),
	CODE(DRM_IOCTL_AMDGPU_GEM_MMAP, 0xc0086441),
	CODE(DRM_IOCTL_AMDGPU_CTX, 0xc0106442),
	CODE(DRM_IOCTL_AMDGPU_BO_LIST, 0xc0186443),
	CODE(DRM_IOCTL_AMDGPU_CS, 0xc0186444),
	CODE(DRM_IOCTL_AMDGPU_INFO, 0x40206445),
	CODE(DRM_IOCTL_AMDGPU_GEM_VA, 0x40286448),
	CODE(DRM_IOCTL_AMDGPU_WAIT_CS, 0xc0206449),
	CODE(DRM_IOCTL_AMDGPU_GEM_OP, 0xc0106450),
	CODE(DRM_IOCTL_AMDGPU_GEM_USERPTR, 0xc0186451),
	SIZE(drm_amdgpu_gem_create_in, 32),
	SIZE(drm_amdgpu_cs_chunk_ib, 32),
};

int main(void)
{
	unsigned int bad = 0, n = sizeof(rows) / sizeof(rows[0]);

	for (unsigned int i = 0; i < n; i++)
		if (rows[i].is != rows[i].known) {
			printf("failed: %s is %#lx in the headers %s, known as %#lx\n",
			       rows[i].name, rows[i].is, HEADERS, rows[i].known);
			bad++;
		}
	printf("%u codes and sizes compared with the headers %s\n", n, HEADERS);
	return bad ? 1 : 0;
}
