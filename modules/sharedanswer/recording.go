package sharedanswer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

// recording is an answer that is kept.
type recording struct {
	sum     [32]byte // of the request's body
	header  http.Header
	body    []byte
	note    []byte          // of whoever made it; may be nil
	failure *apierror.Error // why it ends early; may be nil
}

var errNoRecording = errors.New("this is no recorded answer")

// head is what stands in front of a recording's body.
type head struct {
	Header  http.Header     `json:"header"`
	Note    []byte          `json:"note,omitempty"`
	Failure *apierror.Error `json:"failure,omitempty"`
}

// encode renders a recording: the sum, the head's length, the head as JSON,
// and the body.
func (a *recording) encode() []byte {
	front, _ := json.Marshal(head{a.header, a.note, a.failure}) // cannot fail
	b := append([]byte(nil), a.sum[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(front)))
	b = append(b, front...)
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
	var front head
	if err := json.Unmarshal(b[:n], &front); err != nil || front.Header == nil {
		return nil, errNoRecording
	}
	a.header, a.note, a.failure, a.body = front.Header, front.Note, front.Failure, b[n:]
	return a, nil
}
