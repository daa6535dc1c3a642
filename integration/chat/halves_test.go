package chat

import (
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestHalves: servers cut an emoji between two chunks, as its two surrogates or
// within its bytes.
func TestHalves(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	for name, site := range map[string]string{"gateway": up.Sessions(""), "proxy": up.Proxied("")} {
		t.Run(name, func(t *testing.T) {
			ann := harness.NewClient(harness.Start(t, harness.PlainTenants, site), "acme", "ann")
			for _, tc := range []struct {
				name   string
				pieces []string // of a JSON string
				want   string
			}{
				{"surrogates", []string{`a \ud83d`, `\ude00 b`}, "a 😀 b"},
				{"surrogates one by one", []string{`\ud83d`, ``, `\ude00\ud83e`, `\udd14`}, "😀🤔"},
				{"bytes", []string{"a \xf0\x9f", "\x98\x80 b"}, "a 😀 b"},
				{"half an emoji", []string{`a \ud83d`, `b`}, "a \ufffdb"},
				{"half an emoji at the end", []string{`a \ud83d`}, "a \ufffd"},
			} {
				t.Run(tc.name, func(t *testing.T) {
					session := harness.NewSession()
					a := ann.Ask(session, "hi")
					call := up.Call()
					call.Event(harness.ChunkOf(`{"role":"assistant","content":""}`))
					for _, p := range tc.pieces {
						call.Event(harness.ChunkOf(`{"content":"` + p + `"}`))
					}
					call.Stream(harness.EndOf("stop"))
					if got := a.Events().Rest().Text; got != tc.want {
						t.Errorf("the client got %q, want %q", got, tc.want)
					}
					ann.WantLast(session, tc.want, "complete")
				})
			}
		})
	}
}
