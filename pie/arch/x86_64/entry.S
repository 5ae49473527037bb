/* SPDX-License-Identifier: MIT */
/*
 * entry.S - the agent's first instruction, at offset 0 of the blob.
 *
 * Comes here with rbx = the thread's own mailbox and every other register undefined. The
 * stack is the end of the mailbox's page; nothing is ever returned to.
 */
	.section .text.entry, "ax", @progbits
	.globl	agent_entry
	.hidden	agent_entry
	.type	agent_entry, @function
agent_entry:
	lea	4096(%rbx), %rsp
	xor	%ebp, %ebp
	cld
	mov	%rbx, %rdi
	call	agent_main
	ud2
	.size	agent_entry, . - agent_entry

	.section .note.GNU-stack, "", @progbits
