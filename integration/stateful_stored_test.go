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
	up := newWireUpstream(t)
	for name, site := range map[string]string{"gateway": up.gateway(""), "proxy": up.proxied("")} {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, troubledTenants, site)
			ann := newClient(c, "acme", "ann")
			session := newSession()
			end := c.trouble("append")
			wantFailure(t, ann.remember(session, userSays("go")).answer(), 503, "storage_unavailable")
			end()

			a, call := up.begin(ann, session)
			resp := a.answer()
			end = c.trouble("append")
			call.event(endOf("stop"), "[DONE]") // after which nobody listens any more
			got, _ := readBytes(resp)
			end()
			last := got[strings.LastIndex(strings.TrimSpace(got), "data: ")+len("data: "):]
			if gjson.Get(last, "error.code").Str != "storage_unavailable" || strings.Contains(got, "[DONE]") || strings.Contains(got, "secret") {
				t.Errorf("the stream ended with %q", got)
			}

			a = ann.remember(session, userSays("go"))
			call = up.call()
			end = c.trouble("append")
			call.answer("lost")
			f := wantFailure(t, a.answer(), 503, "storage_unavailable")
			end()
			if f.Error.Type != "server_error" {
				t.Errorf("not OpenAI's shape: %+v", f)
			}
			wantList(t, "history", contents(ann.history(session)), []string{"user: go"})
			wantFreeWire(t, up, ann, session)
		})
	}
}

// TestStatefulOverlong has answers that are longer than what is stored.
func TestStatefulOverlong(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.proxied(""))
	ann := newClient(c, "acme", "ann")
	piece := strings.Repeat("<long>", 1<<20/6)

	session := newSession()
	a := ann.remember(session, userSays("go", streamed))
	call := up.call()
	read := make(chan completion, 1)
	go func() { read <- a.whole() }() // more than fits the connection's buffers
	for range 3 {
		call.event(chunkOf(`{"content":` + quote(piece) + `}`))
	}
	call.stream(endOf("stop"))
	whole := <-read
	whole.wantWhole(t, piece+piece+piece)
	ann.wantStored(session, piece+piece, "partial")

	session = newSession()
	a = ann.remember(session, userSays("go"))
	up.call().answer(piece + piece + piece)
	if got := a.whole(); got.Text != piece+piece+piece {
		t.Errorf("%d bytes came through", len(got.Text))
	}
	wantList(t, "history", contents(ann.history(session)), []string{"user: go"})

	t.Run("nobody hears them out", func(t *testing.T) {
		session := newSession()
		a, call := up.begin(ann, session)
		a.answer()
		a.goAway()
		for range 2 {
			call.event(chunkOf(`{"content":` + quote(piece) + `}`))
		}
		eventually(t, "the upstream is left", func() bool {
			select {
			case <-call.gone:
				return true
			case call.steps <- func(w http.ResponseWriter) bool {
				_, _ = w.Write([]byte("data: " + chunkOf(`{"content":"more"}`) + "\n\n"))
				_ = http.NewResponseController(w).Flush()
				return false
			}:
				<-call.acks
				return false
			}
		})
		wantFreeWire(t, up, ann, session)
	})
}

func TestStatefulLog(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.gateway("")+"\n\tlog\n")
	session := newSession()
	a := newClient(c, "acme", "ann").remember(strings.ToUpper(session), userSays("go", streamed), "X-Trace-Id", "trace-1")
	up.call().answer("x")
	a.whole()
	wantFields(t, c.accessLog("trace-1"), map[string]any{
		"tenant": "acme", "user": "ann", "session": session, "trace_id": "trace-1", "model": "fast", "provider": "openai",
		"attempts": 1.0, "tokens_in": nil, "tokens_out": nil, "cost_usd": nil, "ttft_ms": nil, "status": 200.0,
	})
}
