package bedrock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// event is an event as Bedrock sends it.
func event(typ, payload string) eventstream.Message {
	return encodable("event", ":event-type", typ, payload)
}

func exception(typ, payload string) eventstream.Message {
	return encodable("exception", ":exception-type", typ, payload)
}

func encodable(message, name, typ, payload string) eventstream.Message {
	var m eventstream.Message
	m.Headers.Set(name, eventstream.StringValue(typ))
	m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
	m.Headers.Set(":message-type", eventstream.StringValue(message))
	m.Payload = []byte(payload)
	return m
}

// encoded encodes messages with AWS's own encoder.
func encoded(t testing.TB, messages ...eventstream.Message) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, m := range messages {
		if err := eventstream.NewEncoder().Encode(&b, m); err != nil {
			t.Fatalf("encoding a message: %v", err)
		}
	}
	return b.Bytes()
}

// everyType is a message with a header of each type.
func everyType() eventstream.Message {
	var m eventstream.Message
	for name, value := range map[string]eventstream.Value{
		"true":   eventstream.BoolValue(true),
		"false":  eventstream.BoolValue(false),
		"byte":   eventstream.Int8Value(-1),
		"short":  eventstream.Int16Value(-2),
		"int":    eventstream.Int32Value(-3),
		"long":   eventstream.Int64Value(-4),
		"bytes":  eventstream.BytesValue{0, 1, 2},
		"string": eventstream.StringValue("seen"),
		"empty":  eventstream.StringValue(""),
		"time":   eventstream.TimestampValue(time.Unix(1, 0)),
		"uuid":   eventstream.UUIDValue{1, 2, 3},
	} {
		m.Headers.Set(name, value)
	}
	m.Payload = []byte("payload")
	return m
}

func TestFrames(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	stream := encoded(t, everyType(), event("a", ""), event("b", big), event("c", "{}"))
	for name, r := range map[string]io.Reader{
		"at_once":                 bytes.NewReader(stream),
		"byte_by_byte":            iotest.OneByteReader(bytes.NewReader(stream)),
		"end_with_the_last_bytes": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFrames(r)
			first, err := f.next()
			if err != nil || string(first.payload) != "payload" || len(first.headers) != 2 || first.headers["string"] != "seen" {
				t.Fatalf("got %+v, %v", first, err)
			}
			for _, want := range [...]struct{ typ, payload string }{{"a", ""}, {"b", big}, {"c", "{}"}} {
				got, err := f.next()
				if err != nil || got.headers[":event-type"] != want.typ || string(got.payload) != want.payload {
					t.Fatalf("got %v with %d bytes, %v; want %s", got.headers, len(got.payload), err, want.typ)
				}
			}
			if _, err := f.next(); !errors.Is(err, io.EOF) {
				t.Errorf("ended with %v, want io.EOF", err)
			}
		})
	}
}

func TestFramesCut(t *testing.T) {
	stream := encoded(t, everyType())
	for at := 1; at < len(stream); at++ {
		f := newFrames(bytes.NewReader(stream[:at]))
		if _, err := f.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v, want io.ErrUnexpectedEOF", at, err)
		}
	}
	gone := errors.New("gone")
	f := newFrames(io.MultiReader(bytes.NewReader(stream[:20]), iotest.ErrReader(gone)))
	if _, err := f.next(); !errors.Is(err, gone) {
		t.Errorf("got %v, want the connection's error", err)
	}
}

// TestFramesOfOneRead: all messages of one read are returned before the next
// read, which may wait.
func TestFramesOfOneRead(t *testing.T) {
	stream := encoded(t, everyType(), everyType(), everyType())
	r := &countingReader{r: bytes.NewReader(stream)}
	f := newFrames(r)
	for i := range 3 {
		if _, err := f.next(); err != nil || r.reads != 1 {
			t.Fatalf("message %d: %d reads, %v, want 1", i, r.reads, err)
		}
	}
}

type countingReader struct {
	r     io.Reader
	reads int
}

func (r *countingReader) Read(p []byte) (int, error) {
	r.reads++
	return r.r.Read(p)
}

// TestFramesDamaged flips every bit of a message, one after the other.
func TestFramesDamaged(t *testing.T) {
	whole := encoded(t, everyType())
	for i := range len(whole) * 8 {
		damaged := bytes.Clone(whole)
		damaged[i/8] ^= 1 << (i % 8)
		f := newFrames(bytes.NewReader(damaged))
		if _, err := f.next(); !errors.Is(err, errFrame) {
			t.Fatalf("bit %d: %v, want errFrame", i, err)
		}
	}
}

// prelude returns the valid prelude of a message with these lengths.
func prelude(total, headers uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, total)
	b = binary.BigEndian.AppendUint32(b, headers)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// sealed returns a message with exactly these headers and this payload.
func sealed(headers, payload string) []byte {
	b := prelude(uint32(preludeSize+len(headers)+len(payload)+checksumSize), uint32(len(headers)))
	b = append(append(b, headers...), payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func TestFramesMalformed(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		in         []byte
	}{
		{"too short to be a message", "claims", prelude(15, 0)},
		{"headers longer than the message", "claims", prelude(100, 85)},
		{"headers too long", "claims", prelude(maxMessage, maxHeaders+1)},
		{"message too long", "more than", prelude(maxMessage+1, 0)},
		{"unknown type of header", "unknown type 10", sealed("\x01a\x0a", "")},
		{"header without a type", "ends early", sealed("\x01a", "")},
		{"name that ends early", "ends early", sealed("\x05a\x00", "")},
		{"length that ends early", "ends early", sealed("\x01a\x07\x00", "")},
		{"string that ends early", "ends early", sealed("\x01a\x07\x00\x02b", "")},
		{"number that ends early", "ends early", sealed("\x01a\x05abcdefg", "")},
		{"server-sent events", "checksum", []byte("event: message\ndata: {}\n\n")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFrames(bytes.NewReader(tc.in))
			if _, err := f.next(); !errors.Is(err, errFrame) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want errFrame with %q", err, tc.want)
			}
		})
	}
}

// TestFramesMemory announces more than it sends.
func TestFramesMemory(t *testing.T) {
	f := newFrames(bytes.NewReader(append(prelude(upstream.MaxEvent, 0), 1, 2, 3)))
	if _, err := f.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want io.ErrUnexpectedEOF", err)
	}
	if f.buf.Cap() > 64<<10 {
		t.Errorf("%d bytes were set aside for what never came", f.buf.Cap())
	}
}

// FuzzFrames compares with AWS's own decoder, over messages with correct
// checksums.
func FuzzFrames(f *testing.F) {
	whole := encoded(f, everyType())
	headers := string(whole[preludeSize : len(whole)-checksumSize-len("payload")])
	f.Add(headers, "payload")
	f.Add(headers[:40], "{}")
	f.Add("\x01a\x07\x00\x02b", "")
	f.Add("\x01a\x07\x00\x01b\x01a\x07\x00\x01c", "")
	f.Fuzz(func(t *testing.T, headers, payload string) {
		in := sealed(headers, payload)
		ours := newFrames(bytes.NewReader(in))
		got, err := ours.next()
		if errors.Is(err, errFrame) {
			return // theirs lets headers end early
		}
		want, wantErr := eventstream.NewDecoder().Decode(bytes.NewReader(in), nil)
		if err != nil || wantErr != nil {
			t.Fatalf("%q: %v, theirs %v", in, err, wantErr)
		}
		if !bytes.Equal(got.payload, want.Payload) {
			t.Fatalf("%q: payload %q, theirs %q", in, got.payload, want.Payload)
		}
		texts := make(map[string]string)
		for _, h := range want.Headers {
			if s, ok := h.Value.(eventstream.StringValue); ok {
				texts[h.Name] = string(s)
			}
		}
		if !maps.Equal(got.headers, texts) {
			t.Fatalf("%q: headers %q, theirs %q", in, got.headers, texts)
		}
		if _, err := ours.next(); !errors.Is(err, io.EOF) {
			t.Fatalf("%q: ended with %v, want io.EOF", in, err)
		}
	})
}
