package aigateway

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
)

// recording is an answer that is kept.
type recording struct {
	sum    [32]byte // of the request's body
	header http.Header
	body   []byte
}

var errNoRecording = errors.New("this is no recorded answer")

// encode renders a recording: the sum, the header's length, the header as
// JSON, and the body.
func (a *recording) encode() []byte {
	head := encode(a.header)
	b := append([]byte(nil), a.sum[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	return append(b, a.body...)
}

// decodeRecording undoes encode. The recording goes on using b.
func decodeRecording(b []byte) (*recording, error) {
	a := new(recording)
	if n := copy(a.sum[:], b); n < len(a.sum) || len(b) < n+4 {
		return nil, errNoRecording
	}
	b = b[len(a.sum):]
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	if uint64(n) > uint64(len(b)) {
		return nil, errNoRecording
	}
	if err := json.Unmarshal(b[:n], &a.header); err != nil || a.header == nil {
		return nil, errNoRecording
	}
	a.body = b[n:]
	return a, nil
}
