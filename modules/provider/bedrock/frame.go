package bedrock

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// The sizes of a message of an event stream. It begins with a prelude: the
// message's length, the length of its headers, and a checksum of the two. After
// the headers and the payload comes a checksum of everything.
const (
	preludeSize  = 12
	checksumSize = 4
	maxHeaders   = 128 << 10
	maxMessage   = preludeSize + maxHeaders + upstream.MaxEvent + checksumSize
)

// readSize is how much is read at once: several messages, if they have arrived.
const readSize = 8 << 10

// errFrame says that a message is damaged, or not a message at all.
var errFrame = errors.New("reading the event stream")

// frame is a message of an event stream.
type frame struct {
	headers map[string]string // those that are strings
	payload []byte
}

// frames reads messages of the type application/vnd.amazon.eventstream:
// https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html
type frames struct {
	r   io.Reader
	buf bytes.Buffer
}

func newFrames(r io.Reader) *frames { return &frames{r: bufio.NewReaderSize(r, readSize)} }

// next returns the next message, valid until the following call. io.EOF is an
// end between two messages and io.ErrUnexpectedEOF one within. After errFrame,
// which is a damaged message, no other can be found.
func (f *frames) next() (frame, error) {
	f.buf.Reset()
	if err := f.fill(preludeSize); err != nil {
		return frame{}, err
	}
	prelude := f.buf.Bytes()
	total := int64(binary.BigEndian.Uint32(prelude))
	headers := int64(binary.BigEndian.Uint32(prelude[4:]))
	if crc32.ChecksumIEEE(prelude[:8]) != binary.BigEndian.Uint32(prelude[8:]) {
		return frame{}, fmt.Errorf("%w: the checksum of a message's prelude is wrong", errFrame)
	}
	rest := total - preludeSize - checksumSize
	switch {
	case headers > maxHeaders || headers > rest:
		return frame{}, fmt.Errorf("%w: a message of %d bytes claims to have %d bytes of headers", errFrame, total, headers)
	case total > maxMessage:
		return frame{}, fmt.Errorf("%w: a message has %d bytes, more than %d", errFrame, total, maxMessage)
	}
	if err := f.fill(total - preludeSize); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	message := f.buf.Bytes()
	end := total - checksumSize
	if crc32.ChecksumIEEE(message[:end]) != binary.BigEndian.Uint32(message[end:]) {
		return frame{}, fmt.Errorf("%w: the checksum of a message is wrong", errFrame)
	}
	h, err := readHeaders(message[preludeSize : preludeSize+headers])
	if err != nil {
		return frame{}, err
	}
	return frame{headers: h, payload: message[preludeSize+headers : end]}, nil
}

// fill reads n more bytes. The buffer grows with what arrives, not with what
// was announced.
func (f *frames) fill(n int64) error {
	m, err := io.CopyN(&f.buf, f.r, n)
	if errors.Is(err, io.EOF) && m > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// The types of a header's value.
const (
	typeTrue = iota
	typeFalse
	typeByte
	typeShort
	typeInt
	typeLong
	typeBytes
	typeString
	typeTime
	typeUUID
)

// readHeaders reads a message's headers. Each is a name with its length, a
// type, and a value, with its length unless the type implies it.
func readHeaders(b []byte) (map[string]string, error) {
	headers := make(map[string]string, 3)
	for len(b) > 0 {
		n := 1 + int(b[0])
		if len(b) <= n {
			return nil, fmt.Errorf("%w: a header ends early", errFrame)
		}
		name, typ := b[1:n], b[n]
		b = b[n+1:]
		size := 0
		switch typ {
		case typeTrue, typeFalse:
		case typeByte:
			size = 1
		case typeShort:
			size = 2
		case typeInt:
			size = 4
		case typeLong, typeTime:
			size = 8
		case typeUUID:
			size = 16
		case typeBytes, typeString:
			if len(b) < 2 {
				return nil, fmt.Errorf("%w: a header ends early", errFrame)
			}
			size = int(binary.BigEndian.Uint16(b))
			b = b[2:]
		default:
			return nil, fmt.Errorf("%w: a header has the unknown type %d", errFrame, typ)
		}
		if len(b) < size {
			return nil, fmt.Errorf("%w: a header ends early", errFrame)
		}
		if typ == typeString {
			headers[string(name)] = string(b[:size])
		}
		b = b[size:]
	}
	return headers, nil
}
