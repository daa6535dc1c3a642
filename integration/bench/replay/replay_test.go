package replay

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for model, want := range map[string]Script{
		"1":            {Chunks: 1},
		"64-5ms":       {Chunks: 64, Gap: 5 * time.Millisecond},
		"64-null":      {Chunks: 64, NullUsage: true},
		"1-held":       {Chunks: 1, Held: true},
		"2-1s-null":    {Chunks: 2, Gap: time.Second, NullUsage: true},
		"2-null-500ms": {Chunks: 2, Gap: 500 * time.Millisecond, NullUsage: true},
	} {
		if got, err := Parse(model); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", model, got, err, want)
		}
	}
	for _, model := range []string{"", "gpt-4o", "0", "-1", "1-", "1-often"} {
		if got, err := Parse(model); err == nil {
			t.Errorf("%q: got %+v, want an error", model, got)
		}
	}
}

// ask sends a body to the upstream and returns the answer.
func ask(t *testing.T, body string) *http.Response {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = Serve(l) }()
	t.Cleanup(func() { l.Close() })
	resp, err := http.Post("http://"+l.Addr().String()+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestDocument(t *testing.T) {
	body := read(t, ask(t, `{"model":"3","messages":[]}`))
	if !json.Valid([]byte(body)) || strings.Count(body, Mark) != 3 || !strings.Contains(body, `"completion_tokens":3`) {
		t.Errorf("not an answer of three words: %s", body)
	}
}

func TestRefusesOtherModels(t *testing.T) {
	resp := ask(t, `{"model":"gpt-4o"}`)
	if body := read(t, resp); resp.StatusCode != http.StatusBadRequest || !json.Valid([]byte(body)) {
		t.Errorf("got %s: %s", resp.Status, body)
	}
}

func TestStream(t *testing.T) {
	const asked = `,"stream_options":{"include_usage":true}`
	for name, tc := range map[string]struct {
		model, options string
		nulls, usages  int
	}{
		"plain":                        {"3", "", 0, 0},
		"with the usage":               {"3", asked, 0, 1},
		"null needs a requested usage": {"3-null", "", 0, 0},
		"null is in all chunks with a requested usage": {"3-null", asked, 5, 1},
	} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now().UnixNano()
			body := read(t, ask(t, `{"model":"`+tc.model+`","stream":true`+tc.options+`}`))

			events := strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n")
			if want := 3 + tc.usages + 3; len(events) != want { // and role, finish, [DONE]
				t.Fatalf("%d events, want %d:\n%s", len(events), want, body)
			}
			if events[len(events)-1] != "data: [DONE]" {
				t.Errorf("the end: %s", events[len(events)-1])
			}
			for _, event := range events[:len(events)-1] {
				if data, ok := strings.CutPrefix(event, "data: "); !ok || !json.Valid([]byte(data)) {
					t.Errorf("not a chunk: %s", event)
				}
			}
			if got := strings.Count(body, `"usage":null`); got != tc.nulls {
				t.Errorf("%d chunks with a null, want %d", got, tc.nulls)
			}
			if got := strings.Count(body, `"usage":{`); got != tc.usages {
				t.Errorf("%d chunks with a usage, want %d", got, tc.usages)
			}
			stamps := regexp.MustCompile(Mark+`(\d{19})"`).FindAllStringSubmatch(body, -1)
			if len(stamps) != 3 {
				t.Fatalf("%d send times, want 3:\n%s", len(stamps), body)
			}
			for _, stamp := range stamps {
				var ns int64
				if err := json.Unmarshal([]byte(stamp[1]), &ns); err != nil || ns < begun || ns > time.Now().UnixNano() {
					t.Errorf("sent at %s, asked at %d", stamp[1], begun)
				}
			}
		})
	}
}

func TestHeldStaysOpen(t *testing.T) {
	resp := ask(t, `{"model":"1-held","stream":true}`)
	buf := make([]byte, 4<<10)
	for seen := ""; !strings.Contains(seen, Mark); {
		n, err := resp.Body.Read(buf)
		if err != nil {
			t.Fatalf("the stream ended: %v\n%s", err, seen)
		}
		seen += string(buf[:n])
	}
}
