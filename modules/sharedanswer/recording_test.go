package sharedanswer

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
)

func TestRecording(t *testing.T) {
	whole := &recording{
		head: head{
			Status: http.StatusCreated, Header: http.Header{"Content-Type": {"text/event-stream"}, "X-Two": {"1", "2"}}, Turn: "t", Note: []byte{0, 0xFF},
			Failure: &apierror.Error{Status: 502, Code: "ai_error", Message: "no", Param: "p", RetryAfter: 3},
		},
		sum: [32]byte{1}, body: []byte("data: x\n\n"),
	}
	b := whole.encode()
	got, err := decodeRecording(bytes.Clone(b))
	if err != nil || !reflect.DeepEqual(got, whole) {
		t.Errorf("%+v, %v", got, err)
	}
	front := len(b) - len(whole.body)
	for n := range front {
		if _, err := decodeRecording(b[:n]); !errors.Is(err, errNoRecording) {
			t.Errorf("%d bytes of it: %v", n, err)
		}
	}
	for _, bad := range []string{"", "null", "[]", "{", "{}", `{"header":{}}`, `{"status":200}`} {
		a := append(make([]byte, 35, 64), byte(len(bad)))
		if _, err := decodeRecording(append(a, bad...)); !errors.Is(err, errNoRecording) {
			t.Errorf("with the head %q: %v", bad, err)
		}
	}
}

func TestRecordingKeepsNoRequest(t *testing.T) {
	a := &recording{head: head{Status: http.StatusOK, Header: http.Header{"Date": {"then"}, HeaderCache: {"miss"}, "X-Answer": {"kept"}}}}
	got, err := decodeRecording(a.encode())
	if err != nil || !maps.EqualFunc(got.Header, http.Header{"X-Answer": {"kept"}}, slices.Equal) {
		t.Errorf("%v, %v", got.Header, err)
	}
	if len(a.Header) != 3 {
		t.Error("the answer's own header is changed")
	}
}

func TestReplay(t *testing.T) {
	const c, old = ": keep-alive\n", ": keep-alive\n\n"
	for _, tc := range []struct{ contentType, body, want string }{
		{"text/event-stream", "data: 1\n\ndata: 2\n\n", "data: 1\n\ndata: 2\n\n"},
		{"text/event-stream; charset=utf-8", c + "data: 1\n\n" + c + c + "data: 2\n\n" + c, "data: 1\n\ndata: 2\n\n"},
		{"text/event-stream", old + "data: 1\n\n" + old + c + old + "data: 2\n\n" + old, "data: 1\n\ndata: 2\n\n"},
		{"text/event-stream", "data: 1\r\n\r\n" + c + "data: 2\r\n\r\n", "data: 1\r\n\r\ndata: 2\r\n\r\n"},
		{"text/event-stream", "data: " + c + "\n" + c + "data: 2\n\n", "data: " + c + "\ndata: 2\n\n"},
		{"text/event-stream", "data: 1\n: keep-alive\n", "data: 1\n: keep-alive\n"},
		{"text/event-stream", "data: 1\n: keep-alive\n\n", "data: 1\n: keep-alive\n\n"},
		{"text/event-stream", ": keep-alive", ": keep-alive"},
		{"text/plain", c + "text", c + "text"},
		{"text/event-stream", "", ""},
	} {
		a := &recording{head: head{Header: http.Header{"Content-Type": {tc.contentType}}}, body: []byte(tc.body)}
		if got := string(a.replay()); got != tc.want {
			t.Errorf("%q becomes %q, want %q", tc.body, got, tc.want)
		}
		if string(a.body) != tc.body {
			t.Error("the recording is changed")
		}
	}
}

func FuzzDecodeRecording(f *testing.F) {
	f.Add((&recording{head: head{Status: 200, Header: http.Header{"A": {"b"}}, Note: []byte("note")}, sum: [32]byte{1}, body: []byte("body")}).encode())
	f.Add(make([]byte, 36))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeRecording(b)
		if err != nil {
			return
		}
		again, err := decodeRecording(a.encode())
		if err != nil || again.sum != a.sum || !bytes.Equal(again.body, a.body) || !bytes.Equal(again.Note, a.Note) || again.Status != a.Status {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}
