package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// A file is a header and frames. A frame is what one fsync made durable:
//
//	length of payload u32 | CRC-32C u32 | sequence u64 | payload
//
// in little endian. The checksum starts from the store's ID and covers length,
// sequence and payload, so that no frame copied from elsewhere, say inside a
// job's data, passes for one of this store. The payload is records without
// gap; sequence is the first one's. An empty payload closes a file: nothing
// was lost behind it.
//
// A record is what one command or transaction wrote, the commands in the form
// in which they replay without a clock:
//
//	time, µs since 1970, varint | commands uvarint | { arguments uvarint | { length uvarint | bytes } }
const (
	headerSize  = 8 + 4 + idSize + 8 + 8 + 4
	frameSize   = 4 + 4 + 8
	idSize      = 16
	version     = 1
	maxPayload  = 1<<31 - 1
	magicStart  = "DEETOO"
	journalKind = "JL"
	snapKind    = "SN"
)

type storeID [idSize]byte

func (id storeID) String() string { return fmt.Sprintf("%x", id[:]) }

// header opens each file. In a journal segment, seq is that of its first
// record; in a snapshot, that of the last record it contains.
type header struct {
	kind  string
	id    storeID
	seq   uint64
	clock time.Time
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errShort    = errors.New("ends too early")
	errChecksum = errors.New("does not match its checksum")
)

func (h header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, magicStart...)
	b = append(b, h.kind...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = append(b, h.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.clock.UnixMicro()))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHeader(b []byte, kind string) (header, error) {
	var h header
	if len(b) < headerSize {
		return h, fmt.Errorf("the header %w", errShort)
	}
	b = b[:headerSize]
	if string(b[:8]) != magicStart+kind {
		return h, errors.New("this is no such file of an embedded store")
	}
	if crc32.Checksum(b[:headerSize-4], castagnoli) != binary.LittleEndian.Uint32(b[headerSize-4:]) {
		return h, fmt.Errorf("the header %w", errChecksum)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return h, fmt.Errorf("its format is version %d, this program reads %d", v, version)
	}
	h.kind = kind
	copy(h.id[:], b[12:])
	h.seq = binary.LittleEndian.Uint64(b[12+idSize:])
	h.clock = time.UnixMicro(int64(binary.LittleEndian.Uint64(b[20+idSize:])))
	return h, nil
}

// beginFrame reserves a frame's head in front of a payload.
func beginFrame(b []byte) []byte { return append(b[:0], make([]byte, frameSize)...) }

// endFrame fills in the head of a frame that is complete but for it.
func endFrame(b []byte, id storeID, seq uint64) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-frameSize))
	binary.LittleEndian.PutUint64(b[8:], seq)
	binary.LittleEndian.PutUint32(b[4:], frameChecksum(b, id))
}

func frameChecksum(b []byte, id storeID) uint32 {
	sum := crc32.Checksum(id[:], castagnoli)
	sum = crc32.Update(sum, castagnoli, b[:4])
	return crc32.Update(sum, castagnoli, b[8:])
}

type frame struct {
	seq     uint64
	payload []byte
	size    int // with its head
}

func decodeFrame(b []byte, id storeID) (frame, error) {
	if len(b) < frameSize {
		return frame{}, errShort
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n > int64(len(b)-frameSize) {
		return frame{}, errShort
	}
	b = b[:frameSize+int(n)]
	if binary.LittleEndian.Uint32(b[4:]) != frameChecksum(b, id) {
		return frame{}, errChecksum
	}
	return frame{seq: binary.LittleEndian.Uint64(b[8:]), payload: b[frameSize:], size: len(b)}, nil
}

// hasFrame tells whether a whole frame of the store starts anywhere in b,
// from a sequence on. Looking at the sequence first spares a checksum at
// nearly every byte.
func hasFrame(b []byte, id storeID, from uint64) bool {
	const plausible = 1 << 40
	for ; len(b) >= frameSize; b = b[1:] {
		if seq := binary.LittleEndian.Uint64(b[8:]); seq < from || seq-from > plausible {
			continue
		}
		if _, err := decodeFrame(b, id); err == nil {
			return true
		}
	}
	return false
}

func appendCommand(b []byte, cmd string, args []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(args)+1))
	b = binary.AppendUvarint(b, uint64(len(cmd)))
	b = append(b, cmd...)
	for _, a := range args {
		b = binary.AppendUvarint(b, uint64(len(a)))
		b = append(b, a...)
	}
	return b
}

func appendRecord(b []byte, at time.Time, n int, commands []byte) []byte {
	b = binary.AppendVarint(b, at.UnixMicro())
	b = binary.AppendUvarint(b, uint64(n))
	return append(b, commands...)
}

type record struct {
	at       time.Time
	commands [][]string
}

// decodeRecord takes the first record off a payload.
func decodeRecord(b []byte) (record, []byte, error) {
	at, n := binary.Varint(b)
	if n <= 0 {
		return record{}, nil, errShort
	}
	r := record{at: time.UnixMicro(at)}
	count, b, err := takeCount(b[n:])
	if err != nil {
		return record{}, nil, err
	}
	r.commands = make([][]string, count)
	for i := range r.commands {
		if r.commands[i], b, err = takeCommand(b); err != nil {
			return record{}, nil, err
		}
	}
	return r, b, nil
}

func takeCommand(b []byte) ([]string, []byte, error) {
	n, b, err := takeCount(b)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 {
		return nil, nil, errors.New("holds a command without a name")
	}
	args := make([]string, n)
	for i := range args {
		var size int
		if size, b, err = takeCount(b); err != nil {
			return nil, nil, err
		}
		args[i], b = string(b[:size]), b[size:]
	}
	return args, b, nil
}

// takeCount takes a number off b of things that take a byte each at least.
func takeCount(b []byte) (int, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > uint64(len(b)-n) {
		return 0, nil, errShort
	}
	return int(v), b[n:], nil
}
