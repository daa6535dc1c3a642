package sharedanswer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// recording is a stored answer.
type recording struct {
	head

	sum  [32]byte // of the request, see keyed.sum; zero in the cache
	body []byte
}

// head is all of a recording but its body.
type head struct {
	Status  int             `json:"status"`
	Header  http.Header     `json:"header"`
	Turn    string          `json:"turn,omitempty"`    // of the leader
	Note    []byte          `json:"note,omitempty"`    // for KeyedRequest.Stands
	Failure *apierror.Error `json:"failure,omitempty"` // why the answer is not complete

	FailureID string `json:"failureId,omitempty"` // see end

	// Lost says that there is no answer, since its node or all clients have gone: who leads
	// next is asked the same once more.
	Lost bool `json:"lost,omitempty"`
}

var lostRecording = &recording{head: head{Status: http.StatusServiceUnavailable, Header: http.Header{}, Lost: true}}

var errNoRecording = errors.New("not a recorded answer")

// encode returns the stored form of a recording: the sum, the head's length, the
// head as JSON, and the body.
func (a *recording) encode() []byte {
	h := a.head
	h.Header = h.Header.Clone()
	h.Header.Del(HeaderCache)
	h.Header.Del("Date") // a replay gets its own
	front, _ := json.Marshal(h)
	b := append([]byte(nil), a.sum[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(front)))
	b = append(b, front...)
	return append(b, a.body...)
}

// decodeRecording reverses encode. The recording keeps b.
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
	if err := json.Unmarshal(b[:n], &a.head); err != nil || a.Header == nil || a.Status < http.StatusOK {
		return nil, errNoRecording
	}
	a.body = b[n:]
	return a, nil
}

var keepAlive = sse.AppendComment(nil, "keep-alive")

// replay returns the body to send again. It removes a stream's keep-alive
// comments, which only bridged the pauses of the model.
func (a *recording) replay() []byte {
	if !sse.IsStream(a.Header) || !bytes.Contains(a.body, keepAlive) {
		return a.body
	}
	kept := make([]byte, 0, len(a.body))
	rest := a.body
	for {
		i := bytes.Index(rest, keepAlive)
		if i < 0 {
			return append(kept, rest...)
		}
		kept = append(kept, rest[:i]...)
		rest = rest[i+len(keepAlive):]
		if betweenEvents(kept) {
			rest = bytes.TrimPrefix(rest, []byte("\n")) // earlier versions sent a blank line behind it
		} else {
			kept = append(kept, keepAlive...) // part of an event that is not ours
		}
	}
}

// betweenEvents reports whether a stream ends behind an event, or is empty.
func betweenEvents(stream []byte) bool {
	return len(stream) == 0 || bytes.HasSuffix(stream, []byte("\n\n")) || bytes.HasSuffix(stream, []byte("\n\r\n"))
}
