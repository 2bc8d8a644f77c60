/*
 * Preloaded into user-mode-linux. It sets the registers of its processes with as many octets as its kernel knows of;
 * a host whose processors have more (AMX) refuses that, and no process of the guest starts. Here what is missing is
 * filled up with what the registers have already.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static long call(long request, pid_t pid, void *address, void *data)
{
	return syscall(SYS_ptrace, request, pid, address, data);
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);

	if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
		static unsigned char octets[65536];
		struct iovec some = *(struct iovec *)data;
		struct iovec all = { octets, sizeof octets };
		if (call(PTRACE_GETREGSET, pid, address, &all) == 0 && some.iov_len < all.iov_len) {
			memcpy(octets, some.iov_base, some.iov_len);
			return call(PTRACE_SETREGSET, pid, address, &all);
		}
	}
	/* The C library returns what these read; the kernel writes it. */
	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
		long word;
		if (call(request, pid, address, &word) < 0)
			return -1;
		errno = 0;
		return word;
	}
	return call(request, pid, address, data);
}
