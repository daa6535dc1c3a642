package openai

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// TestLinear counts the bytes that are allocated for an answer and for one of twice
// the size. An edit that copies the whole answer makes them grow with its square.
func TestLinear(t *testing.T) {
	join := func(n int, part string) string { return strings.TrimSuffix(strings.Repeat(part+",", n), ",") }
	const call = `{"id":"","function":{"name":"f","arguments":"{}"}}`
	for name, of := range map[string]func(n int) string{
		"choices":    func(n int) string { return join(n, `{"message":{"content":[{"type":"text","text":"a"}]}}`) },
		"tool calls": func(n int) string { return fmt.Sprintf(`{"message":{"tool_calls":[%s]}}`, join(n, call)) },
		"content parts": func(n int) string {
			return fmt.Sprintf(`{"message":{"content":[%s]}}`, join(n, `{"type":"text","text":"a"}`))
		},
		"repeated contents": func(n int) string { return fmt.Sprintf(`{"message":{%s}}`, join(n, `"content":"a"`)) },
		"reasoning details": func(n int) string {
			return fmt.Sprintf(`{"message":{"reasoning_details":[%s]}}`, join(n, `{"text":"a"}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			document := func(n int) string { return `{"choices":[` + of(n) + `]}` }
			wantLinear(t, func(n int) {
				c, err := completion([]byte(document(n)))
				if err != nil {
					t.Fatal(err)
				}
				asChunk(c.Body)
			})
			wantLinear(t, func(n int) {
				drain(t, "data: "+strings.ReplaceAll(document(n), `"message"`, `"delta"`)+"\n\ndata: [DONE]\n\n")
			})
		})
	}
}

// TestLinearStreams does so for streams of many chunks.
func TestLinearStreams(t *testing.T) {
	for name, delta := range map[string]string{
		"parts of one call":      `{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"xx"}}]}`,
		"calls":                  `{"tool_calls":[{"index":0,"id":"%d","function":{"name":"f","arguments":"{}"}}]}`,
		"calls by index":         `{"tool_calls":[{"index":%d,"function":{"name":"f","arguments":"{}"}}]}`,
		"a name in pieces":       `{"tool_calls":[{"index":0,"id":"a","function":{"name":"n%d"}}]}`,
		"a legacy call":          `{"function_call":{"name":"f","arguments":"x"}}`,
		"pieces of reasoning":    `{"reasoning_details":[{"index":0,"type":"reasoning.text","text":"x"}]}`,
		"reasoning, by index":    `{"reasoning_details":[{"index":%d,"type":"reasoning.text","text":"x"}]}`,
		"thinking":               `{"thinking_blocks":[{"type":"thinking","thinking":"x"}]}`,
		"sealed thoughts":        `{"thinking_blocks":[{"type":"redacted_thinking","data":"%d"}]}`,
		"annotations":            `{"annotations":[{"url":"%d"}]}`,
		"lists of parts":         `{"content":[{"type":"text","text":"a"}]}`,
		"characters in halves":   `{"content":"\ude00\ud83d"}`,
		"members that are new":   `{"m%d":"x"}`,
		"objects that are added": `{"audio":{"data":"x","m%d":1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			wantLinear(t, func(n int) {
				var b strings.Builder
				for i := range n {
					b.WriteString(`data: {"id":"a","object":"chat.completion.chunk","choices":[{"index":0,"delta":` + strings.ReplaceAll(delta, "%d", fmt.Sprint(10000+i)) + "}]}\n\n")
				}
				drain(t, b.String()+"data: [DONE]\n\n")
			})
		})
	}
}

// drain reads a stream to its end.
func drain(t *testing.T, body string) {
	t.Helper()
	s := newStream(t.Context(), io.NopCloser(strings.NewReader(body)))
	w := provider.NewWhole()
	for {
		c, err := s.Next()
		if err == io.EOF { //nolint:errorlint // the stream's own
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := w.AddChunk(c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Completion(); err != nil {
		t.Fatal(err)
	}
}

func wantLinear(t *testing.T, do func(n int)) {
	t.Helper()
	const n = 2000
	do(n) // fills pools
	once, twice := allocated(func() { do(n) }), allocated(func() { do(2 * n) })
	if twice > 3*once {
		t.Errorf("%d bytes for %d and %d for %d: more than linear", once, n, twice, 2*n)
	}
}

// allocated returns how many bytes a function allocates.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// BenchmarkManyCalls assembles a stream that has a chunk for each of many tool calls.
// Its time a call must not depend on their number.
func BenchmarkManyCalls(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				w := provider.NewWhole()
				for i := range n {
					if err := w.Add(fmt.Appendf(nil, `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"id":"a"}]}}]}`, i)); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/call")
		})
	}
}
