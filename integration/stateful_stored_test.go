package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestStatefulUnstored has an answer that cannot be stored not look as if it
// were.
func TestStatefulUnstored(t *testing.T) {
	t.Parallel()
	up := NewWireUpstream(t)
	for name, site := range map[string]string{"gateway": up.Gateway(""), "proxy": up.Proxied("")} {
		t.Run(name, func(t *testing.T) {
			c := Start(t, TroubledTenants, site)
			ann := NewClient(c, "acme", "ann")
			session := NewSession()
			end := c.Trouble("append")
			WantFailure(t, ann.Remember(session, UserSays("go")).Answer(), 503, "storage_unavailable")
			end()

			a, call := up.begin(ann, session)
			resp := a.Answer()
			end = c.Trouble("append")
			call.Event(EndOf("stop"), "[DONE]") // after which nobody listens any more
			got, _ := readBytes(resp)
			end()
			last := got[strings.LastIndex(strings.TrimSpace(got), "data: ")+len("data: "):]
			if gjson.Get(last, "error.code").Str != "storage_unavailable" || strings.Contains(got, "[DONE]") || strings.Contains(got, "secret") {
				t.Errorf("the stream ended with %q", got)
			}

			a = ann.Remember(session, UserSays("go"))
			call = up.Call()
			end = c.Trouble("append")
			call.Answer("lost")
			f := WantFailure(t, a.Answer(), 503, "storage_unavailable")
			end()
			if f.Error.Type != "server_error" {
				t.Errorf("not OpenAI's shape: %+v", f)
			}
			WantList(t, "history", Contents(ann.History(session)), []string{"user: go"})
			wantFreeWire(t, up, ann, session)
		})
	}
}

// TestStatefulOverlong has answers that are longer than what is stored.
func TestStatefulOverlong(t *testing.T) {
	t.Parallel()
	up := NewWireUpstream(t)
	c := Start(t, PlainTenants, up.Proxied(""))
	ann := NewClient(c, "acme", "ann")
	piece := strings.Repeat("<long>", 1<<20/6)

	session := NewSession()
	a := ann.Remember(session, UserSays("go", Streamed))
	call := up.Call()
	read := make(chan Completion, 1)
	go func() { read <- a.Whole() }() // more than fits the connection's buffers
	for range 3 {
		call.Event(ChunkOf(`{"content":` + Quote(piece) + `}`))
	}
	call.Stream(EndOf("stop"))
	whole := <-read
	whole.WantWhole(t, piece+piece+piece)
	ann.wantStored(session, piece+piece, "partial")

	session = NewSession()
	a = ann.Remember(session, UserSays("go"))
	up.Call().Answer(piece + piece + piece)
	if got := a.Whole(); got.Text != piece+piece+piece {
		t.Errorf("%d bytes came through", len(got.Text))
	}
	WantList(t, "history", Contents(ann.History(session)), []string{"user: go"})

	t.Run("nobody hears them out", func(t *testing.T) {
		session := NewSession()
		a, call := up.begin(ann, session)
		a.Answer()
		a.GoAway()
		for range 2 {
			call.Event(ChunkOf(`{"content":` + Quote(piece) + `}`))
		}
		Eventually(t, "the upstream is left", func() bool {
			select {
			case <-call.Gone:
				return true
			case call.Steps <- func(w http.ResponseWriter) bool {
				_, _ = w.Write([]byte("data: " + ChunkOf(`{"content":"more"}`) + "\n\n"))
				_ = http.NewResponseController(w).Flush()
				return false
			}:
				<-call.Acks
				return false
			}
		})
		wantFreeWire(t, up, ann, session)
	})
}

func TestStatefulLog(t *testing.T) {
	t.Parallel()
	up := NewWireUpstream(t)
	c := Start(t, PlainTenants, up.Gateway("")+"\n\tlog\n")
	session := NewSession()
	a := NewClient(c, "acme", "ann").Remember(strings.ToUpper(session), UserSays("go", Streamed), "X-Trace-Id", "trace-1")
	up.Call().Answer("x")
	a.Whole()
	WantFields(t, c.AccessLog("trace-1"), map[string]any{
		"tenant": "acme", "user": "ann", "session": session, "trace_id": "trace-1", "model": "fast", "provider": "openai",
		"attempts": 1.0, "tokens_in": nil, "tokens_out": nil, "cost_usd": nil, "ttft_ms": nil, "status": 200.0,
	})
}
