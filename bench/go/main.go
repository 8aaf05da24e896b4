// SPDX-License-Identifier: Apache-2.0

// main ID: reads the map once with cilium/ebpf and prints the way and the total. Then, for each count on standard input,
// reads it that many times and prints nanoseconds per read.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
)

// total returns the sum of the 64-bit words of a value.
type total uint64

func (t *total) UnmarshalBinary(data []byte) error {
	*t = 0
	for ; len(data) >= 8; data = data[8:] {
		*t += total(binary.LittleEndian.Uint64(data))
	}
	return nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cilium/ebpf:", err)
		os.Exit(1)
	}
}

func readBatch(m *ebpf.Map, keys []uint32, values []uint64) uint64 {
	var cursor uint32
	n, err := m.BatchLookup(nil, &cursor, keys, values, nil)
	if !errors.Is(err, ebpf.ErrKeyNotExist) {
		must(err)
	}
	sum := uint64(0)
	for _, value := range values[:n] {
		sum += value
	}
	return sum
}

func readEntries(m *ebpf.Map) uint64 {
	var key uint32
	var values []total
	sum := uint64(0)
	entries := m.Iterate()
	for entries.Next(&key, &values) {
		for _, value := range values {
			sum += uint64(value)
		}
	}
	must(entries.Err())
	return sum
}

func main() {
	id, err := strconv.ParseUint(os.Args[1], 10, 32)
	must(err)
	m, err := ebpf.NewMapFromID(ebpf.MapID(id))
	must(err)
	keys, values := make([]uint32, m.MaxEntries()), make([]uint64, m.MaxEntries())
	via, read := "BatchLookup", func() uint64 { return readBatch(m, keys, values) }
	if strings.HasPrefix(m.Type().String(), "PerCPU") {
		via, read = "Iterate", func() uint64 { return readEntries(m) }
	}
	fmt.Println(via, read())
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		loops, err := strconv.Atoi(input.Text())
		must(err)
		start := time.Now()
		for i := 0; i < loops; i++ {
			read()
		}
		fmt.Println(float64(time.Since(start).Nanoseconds()) / float64(loops))
	}
}
