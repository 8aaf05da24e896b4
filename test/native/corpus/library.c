// SPDX-License-Identifier: Apache-2.0
/* A shared library with symbol versions, notes of two alignments and USDT probes, as uprobes and USDT meet
 * them. */
int answer_old(int n);
int answer_new(int n);
int twice(int n);

__asm__(".symver answer_old, answer@CORPUS_1");
__asm__(".symver answer_new, answer@@CORPUS_2");

/* What <sys/sdt.h> emits: location, base and semaphore addresses, provider, name, arguments. */
#define PROBE(name, arguments)                                                                               \
	__asm__ volatile("990: nop\n"                                                                        \
	                 ".pushsection .note.stapsdt,\"?\",\"note\"\n"                                       \
	                 ".balign 4\n"                                                                       \
	                 ".4byte 992f-991f, 994f-993f, 3\n"                                                  \
	                 "991: .asciz \"stapsdt\"\n"                                                         \
	                 "992: .balign 4\n"                                                                  \
	                 "993: .8byte 990b, _.stapsdt.base, 0\n"                                             \
	                 ".asciz \"corpus\"\n"                                                               \
	                 ".asciz \"" name "\"\n"                                                             \
	                 ".asciz \"" arguments "\"\n"                                                        \
	                 "994: .balign 4\n"                                                                  \
	                 ".popsection\n")

__asm__(".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
        ".weak _.stapsdt.base\n"
        ".hidden _.stapsdt.base\n"
        "_.stapsdt.base: .space 1\n"
        ".size _.stapsdt.base, 1\n"
        ".popsection\n");

__asm__(".pushsection .note.wide,\"a\",\"note\"\n"
        ".balign 8\n"
        ".4byte 5, 12, 77\n"
        ".asciz \"Wide\"\n"
        ".balign 8\n"
        ".8byte 1\n"
        ".4byte 2\n"
        ".balign 8\n"
        ".popsection\n");

int state[100];
const char *const words[] = {"one", "two"};

int answer_old(int n)
{
	PROBE("old", "-4@%edi 8@$7 -4@-20(%rbp)");
	return n + state[n & 63];
}

int answer_new(int n)
{
	PROBE("new", "");
	return twice(n) + words[n & 1][0];
}

int twice(int n)
{
	return 2 * n;
}
