package responses

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

var update = flag.Bool("update", false, "write the golden files")

// TestRequests compares the chat completions requests that requests become.
func TestRequests(t *testing.T) {
	for _, file := range inputs(t, "requests") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := opened(t, read(t, file))
			golden(t, strings.TrimSuffix(file, ".json")+".completion", pretty(t, c.completion)+strings.Join(c.dropped, "\n")+"\n")
		})
	}
}

// TestAnswers compares what the chunks of an answer become, and its document.
func TestAnswers(t *testing.T) {
	for _, file := range inputs(t, "answers") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sample := gjson.ParseBytes(read(t, file))
			c := opened(t, []byte(sample.Get("request").Raw))
			name := strings.TrimSuffix(file, ".json")

			var events []byte
			s := newStream(c)
			for _, raw := range sample.Get("chunks").Array() {
				events = s.Chunk(events, chunkOf(raw.Raw))
			}
			events = s.End(events, provider.Usage{Input: 11, Output: 7, Cached: 3, Reasoning: 2})
			checkOrder(t, events)
			golden(t, name+".events", string(events))

			document, err := provider.Assemble(chunksOf(sample.Get("chunks").Array()), func(*provider.Chunk) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".document", pretty(t, c.Document(document.Body)))
		})
	}
}

func inputs(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples in %s: %v", dir, err)
	}
	return files
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// opened returns a request with a known id and time.
func opened(t testing.TB, body []byte) *call {
	t.Helper()
	c, err := open(body, false)
	if err != nil {
		t.Fatal(err)
	}
	c.id, c.created = "0", 1
	return c
}

func chunkOf(raw string) *provider.Chunk {
	f, _ := provider.ParseChunk([]byte(raw))
	return &provider.Chunk{Raw: []byte(raw), Facts: f}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := string(read(t, file)); got != want {
		t.Errorf("%s\n got %s\nwant %s", file, got, want)
	}
}

func pretty(t *testing.T, doc []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, doc, "", "  "); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	return b.String() + "\n"
}
