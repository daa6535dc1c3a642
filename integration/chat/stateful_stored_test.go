package chat

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestStatefulUnstored checks that an answer that cannot be stored ends with an
// error.
func TestStatefulUnstored(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	for name, site := range map[string]string{"gateway": up.Sessions(""), "proxy": up.Proxied("")} {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.TroubledTenants, site)
			ann := harness.NewClient(c, "acme", "ann")
			session := harness.NewSession()
			end := c.Trouble("append")
			harness.WantFailure(t, ann.Remember(session, harness.UserSays("go")).Answer(), 503, "storage_unavailable")
			end()

			a, call := begin(up, ann, session)
			resp := a.Answer()
			end = c.Trouble("append")
			call.Event(harness.EndOf("stop"), "[DONE]") // after [DONE], clients stop reading
			got, _ := readBytes(resp)
			end()
			last := got[strings.LastIndex(strings.TrimSpace(got), "data: ")+len("data: "):]
			if gjson.Get(last, "error.code").Str != "storage_unavailable" || strings.Contains(got, "[DONE]") || strings.Contains(got, "secret") {
				t.Errorf("the stream ended with %q", got)
			}

			a = ann.Remember(session, harness.UserSays("go"))
			call = up.Call()
			end = c.Trouble("append")
			call.Answer("lost")
			f := harness.WantFailure(t, a.Answer(), 503, "storage_unavailable")
			end()
			if f.Error.Type != "server_error" {
				t.Errorf("not OpenAI's shape: %+v", f)
			}
			harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: go"})
			wantFreeWire(t, up, ann, session)
		})
	}
}

// TestStatefulOverlong has answers too long to store whole.
func TestStatefulOverlong(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Proxied(""))
	ann := harness.NewClient(c, "acme", "ann")
	piece := strings.Repeat("<long>", 1<<20/6)

	session := harness.NewSession()
	a := ann.Remember(session, harness.UserSays("go", harness.Streamed))
	call := up.Call()
	read := make(chan harness.Completion, 1)
	go func() { read <- a.Whole() }() // more than the connection's buffers hold
	for range 3 {
		call.Event(harness.ChunkOf(`{"content":` + harness.Quote(piece) + `}`))
	}
	call.Stream(harness.EndOf("stop"))
	whole := <-read
	whole.WantWhole(t, piece+piece+piece)
	wantStored(ann, session, piece+piece, "partial")

	session = harness.NewSession()
	a = ann.Remember(session, harness.UserSays("go"))
	call = up.Call()
	go func() { read <- a.Whole() }()
	call.Answer(piece + piece + piece)
	if got := <-read; got.Text != piece+piece+piece {
		t.Errorf("the client got %d bytes", len(got.Text))
	}
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: go"})

	t.Run("the upstream is stopped when the client has left", func(t *testing.T) {
		session := harness.NewSession()
		a, call := begin(up, ann, session)
		a.Answer()
		a.GoAway()
		for range 2 {
			call.Event(harness.ChunkOf(`{"content":` + harness.Quote(piece) + `}`))
		}
		harness.Eventually(t, "the upstream is stopped", func() bool {
			return !call.Try(harness.Sends(harness.Content("more")))
		})
		wantFreeWire(t, up, ann, session)
	})
}

func TestStatefulLog(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions("")+"\n\tlog\n")
	session := harness.NewSession()
	a := harness.NewClient(c, "acme", "ann").Remember(strings.ToUpper(session), harness.UserSays("go", harness.Streamed), "X-Trace-Id", "trace-1")
	up.Call().Answer("x")
	a.Whole()
	harness.WantFields(t, c.AccessLog("trace-1"), map[string]any{
		"tenant": "acme", "user": "ann", "session": session, "trace_id": "trace-1", "model": "fast", "provider": "openai",
		"attempts": 1.0, "tokens_in": nil, "tokens_out": nil, "tokens_estimated": true, "cost_usd": nil, "ttft_ms": nil, "status": 200.0,
	})
}
