/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libbpf reads the kernel's configuration with these (kconfig externs only); the addon passes opts.kconfig
 * instead. Force-included with the guard of the real header, since node's own include folder ships a zlib.h
 * and comes first: without it the gz functions would bind to the node binary. Includes nothing, since some of
 * libbpf's files set feature macros before their first include.
 */
#ifndef ZLIB_H
#define ZLIB_H

typedef struct plain_gz_file *gzFile;

gzFile plain_gzopen(const char *path, const char *mode);
char *plain_gzgets(gzFile file, char *line, int length);
int plain_gzclose(gzFile file);

#define gzopen plain_gzopen
#define gzgets plain_gzgets
#define gzclose plain_gzclose

#endif
