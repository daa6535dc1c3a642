package badger

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"
	"strconv"

	"github.com/dgraph-io/badger/v4/y"
)

// A .mem file is Badger's write-ahead log of one memtable. It begins with the id
// of a data key and a nonce, and then holds entries:
//
//	meta (1) | user meta (1) | key length | value length | expiry | key | value | crc32
//
// The three numbers are varints. The checksum is Castagnoli's, big endian, over
// all that comes before it as it is on disk. With a data key, key and value are
// encrypted with AES-CTR under the nonce and the entry's offset. Unused space is
// zero. A transaction is a run of entries with metaTxn and the same version,
// closed by one with metaEnd whose value is that version.
const (
	walHeader = 20

	metaTxn = 1 << 6
	metaEnd = 1 << 7

	maxWALKey = 1 << 16

	// No key or value that this store writes is larger. A search for the next
	// entry takes nothing else for one, which bounds its work.
	maxSearchKey   = 4 << 10
	maxSearchValue = 32 << 10
)

var errEntry = errors.New("not an entry")

// wal is the content of one write-ahead log.
type wal struct {
	data []byte
	key  []byte // the data key, nil without encryption
}

// walEntry is the place of one entry, and what it takes to tell transactions apart.
type walEntry struct {
	from, to int
	meta     byte
	version  uint64
}

// entry reads the entry at an offset.
func (w *wal) entry(at int) (walEntry, error) {
	e := walEntry{from: at}
	b := w.data[at:]
	if len(b) < 2 {
		return e, errEntry
	}
	e.meta = b[0]
	n := 2
	var numbers [3]uint64
	for i := range numbers {
		v, size := binary.Uvarint(b[n:])
		if size <= 0 {
			return e, errEntry
		}
		numbers[i] = v
		n += size
	}
	keyLen, valueLen := numbers[0], numbers[1]
	// a key ends with its version
	if keyLen < 8 || keyLen > maxWALKey || valueLen > uint64(len(b)) {
		return e, errEntry
	}
	end := n + int(keyLen) + int(valueLen)
	if end+crc32.Size > len(b) {
		return e, errEntry
	}
	if crc32.Checksum(b[:end], y.CastagnoliCrcTable) != binary.BigEndian.Uint32(b[end:]) {
		return e, errEntry
	}
	e.to = at + end + crc32.Size
	return e, w.readVersion(&e, b[n:end], int(keyLen))
}

// readVersion sets the version that the entry belongs to: that of its key or, at
// the end of a transaction, its value.
func (w *wal) readVersion(e *walEntry, kv []byte, keyLen int) error {
	if w.key != nil {
		var err error
		if kv, err = y.XORBlockAllocate(kv, w.key, w.iv(e.from)); err != nil {
			return err
		}
	}
	e.version = math.MaxUint64 - binary.BigEndian.Uint64(kv[keyLen-8:keyLen])
	if e.meta&metaEnd == 0 {
		return nil
	}
	version, err := strconv.ParseUint(string(kv[keyLen:]), 10, 64)
	if err != nil {
		return errEntry
	}
	e.version = version
	return nil
}

func (w *wal) iv(at int) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, 16), w.data[8:walHeader]...), uint32(at))
}

// unit returns the end of the transaction or single entry that begins at an
// offset. It returns an error unless that is whole.
func (w *wal) unit(at int) (end int, err error) {
	version := uint64(0)
	for first := true; ; first = false {
		e, err := w.entry(at)
		switch {
		case err != nil:
			return 0, err
		case e.meta&metaTxn != 0 && (first || e.version == version):
			version, at = e.version, e.to
		case e.meta&metaEnd != 0 && !first && e.version == version:
			return e.to, nil
		case e.meta&(metaTxn|metaEnd) == 0 && first:
			return e.to, nil
		default:
			return 0, errEntry
		}
	}
}

// used returns the end of what was written: the last byte that is not zero.
func (w *wal) used() int {
	n := len(w.data)
	for n > walHeader && w.data[n-1] == 0 {
		n--
	}
	return n
}

// mayBegin reports whether an entry of this store may begin at an offset.
func (w *wal) mayBegin(at int) bool {
	b := w.data[at:]
	if len(b) < 2 {
		return false
	}
	keyLen, n := binary.Uvarint(b[2:])
	if n <= 0 || keyLen < 8 || keyLen > maxSearchKey {
		return false
	}
	valueLen, m := binary.Uvarint(b[2+n:])
	return m > 0 && valueLen <= maxSearchValue
}

// gap is a part of a log that cannot be read.
type gap struct{ from, to int }

// gaps returns the parts that hold no whole transaction. Badger stops reading at
// the first one. The last may reach to the end of what was written.
func (w *wal) gaps() []gap {
	var list []gap
	end := w.used()
	for at := walHeader; at < end; {
		next, err := w.unit(at)
		if err == nil {
			at = next
			continue
		}
		g := gap{from: at, to: end}
		for at++; at < end; at++ {
			if !w.mayBegin(at) {
				continue
			}
			if _, err := w.unit(at); err == nil {
				g.to = at
				break
			}
		}
		list = append(list, g)
	}
	return list
}

// torn reports whether a gap at the end of a log looks like a transaction that
// was being written when the process ended: its entries are whole, but its end
// is missing.
func (w *wal) torn(g gap) bool {
	for at := g.from; at < g.to; {
		e, err := w.entry(at)
		if err != nil {
			return false
		}
		at = e.to
	}
	return true
}

// filler is the key, without a version, of entries that cover gaps. Nothing else
// is in its space.
const filler = "~"

// cover overwrites a gap with one entry that has expired, so that Badger reads on
// behind it. It returns an error if the gap is too small for one.
func (w *wal) cover(g gap) error {
	size := g.to - g.from
	for key := y.KeyWithTs([]byte(filler), 1); len(key) < 64; key = append([]byte(filler), key...) {
		head := fillerHead(len(key), size)
		if head == nil {
			continue
		}
		b := slices.Concat(head, key, make([]byte, size-crc32.Size-len(head)-len(key)))
		if w.key != nil {
			kv, err := y.XORBlockAllocate(b[len(head):], w.key, w.iv(g.from))
			if err != nil {
				return err
			}
			copy(b[len(head):], kv)
		}
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, y.CastagnoliCrcTable))
		copy(w.data[g.from:g.to], b)
		return nil
	}
	return errors.New("too small to be covered")
}

// fillerHead returns the beginning of an entry of this size, or nil if none has
// it with a key of this length: the length of the value is part of it.
func fillerHead(keyLen, size int) []byte {
	const expired = 1
	for width := 1; width <= 5; width++ {
		head := []byte{0, 0}
		head = binary.AppendUvarint(head, uint64(keyLen))
		valueLen := size - crc32.Size - keyLen - len(head) - width - 1
		if valueLen < 0 {
			return nil
		}
		before := len(head)
		head = binary.AppendUvarint(head, uint64(valueLen))
		if len(head)-before == width {
			return append(head, expired)
		}
	}
	return nil
}
