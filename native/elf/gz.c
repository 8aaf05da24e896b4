// SPDX-License-Identifier: Apache-2.0
// Plain files only: a compressed one reads as absent, and libbpf goes on to its next candidate.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "zlib.h"

static int is_compressed(const char *path)
{
	static const char suffix[] = ".gz";
	size_t length = strlen(path);
	size_t suffix_length = sizeof suffix - 1;

	return length > suffix_length && strcmp(path + length - suffix_length, suffix) == 0;
}

gzFile plain_gzopen(const char *path, const char *mode)
{
	if (is_compressed(path)) {
		errno = ENOENT;
		return NULL;
	}
	return (gzFile)fopen(path, mode);
}

char *plain_gzgets(gzFile file, char *line, int length)
{
	return fgets(line, length, (FILE *)file);
}

int plain_gzclose(gzFile file)
{
	return fclose((FILE *)file);
}
