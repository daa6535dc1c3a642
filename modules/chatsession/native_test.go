package chatsession

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
)

// FuzzMessage holds what POST /chat accepts to the contract, and what it
// refuses to the two codes there are for it.
func FuzzMessage(f *testing.F) {
	const id = "0198f0e0-0000-7000-8000-000000000000"
	for _, s := range []string{
		`{"sessionId":"` + id + `","message":"hi"}`,
		`{"sessionId":"` + strings.ToUpper(id) + `","message":"\ud83d\ude00","stream":false,"modelId":"fast","userId":"ann"}`,
		`{"sessionId":"` + id + `","message":"hi","message":"ho"}`,
		`{"sessionId":"` + id + `","message":"0123456789abcdefg"}`,
		`{"sessionId":"` + id + `","message":"hi","userId":"a\nb"}`,
		`{"sessionId":"` + id + `","message":"\ud800"}`,
		`{"sessionId":null,"message":{}}`,
		`{"x":[{"y":{"z":1,"z":2}}]}`,
		"\xef\xbb\xbf{}", "[]", "null", `"`, "{", "", "{}{}", "{\"message\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	const maxChars = 16
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := readFuzzed(body, maxChars)
		if err != nil {
			var e *apierror.Error
			if !errors.As(err, &e) || e.Status != http.StatusBadRequest || (e.Code != "invalid_json" && e.Code != "invalid_request") {
				t.Fatalf("%q is refused with %v", body, err)
			}
			return
		}
		checkAccepted(t, body, m, maxChars)
	})
}

func readFuzzed(body []byte, maxChars int) (*message, error) {
	r := httptest.NewRequest(http.MethodPost, "/chat", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	x := &chat.Exchange{R: r, Rec: new(record.Record)}
	checked, err := x.ReadBody(int64(len(body)), time.Minute)
	if err != nil {
		return nil, err
	}
	return parseMessage(checked, maxChars)
}

func checkAccepted(t *testing.T, body []byte, m *message, maxChars int) {
	t.Helper()
	// whoever reads the body after us, however leniently, reads the same
	var other map[string]any
	if err := json.Unmarshal(body, &other); err != nil || !utf8.Valid(body) {
		t.Fatalf("%q was accepted: %v", body, err)
	}
	id, err := uuid.Parse(*m.SessionID)
	if err != nil || id.String() != *m.SessionID || !strings.EqualFold(*m.SessionID, other["sessionId"].(string)) {
		t.Errorf("sessionId %q of %q", *m.SessionID, body)
	}
	if n := utf8.RuneCountInString(*m.Message); n < 1 || n > maxChars || !utf8.ValidString(*m.Message) || *m.Message != other["message"] {
		t.Errorf("message %q of %q", *m.Message, body)
	}
	stream, given := other["stream"].(bool)
	if want := stream || !given; *m.Stream != want {
		t.Errorf("stream %t of %q", *m.Stream, body)
	}
	if m.ModelID != nil && (*m.ModelID == "" || *m.ModelID != other["modelId"]) {
		t.Errorf("modelId %q of %q", *m.ModelID, body)
	}
	if m.UserID != nil && (!chat.ValidUser(*m.UserID) || *m.UserID != other["userId"]) {
		t.Errorf("userId %q of %q", *m.UserID, body)
	}
}
