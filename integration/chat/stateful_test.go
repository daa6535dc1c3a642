package chat

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// TestStateful checks what holds for sessions under /v1 with every handler
// behind them.
func TestStateful(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	for name, site := range map[string]string{"gateway": up.Sessions(""), "proxy": up.Proxied("")} {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.PlainTenants, site)
			ann := harness.NewClient(c, "acme", "ann")
			for _, more := range []string{"", harness.Streamed} {
				t.Run("remembers"+more, func(t *testing.T) {
					session := harness.NewSession()
					a := up.Turn(ann, session, harness.UserSays("hello", more), "hi there")
					if a.Status != http.StatusOK || a.Text != "hi there" || a.Finish != "stop" || a.Code != "" {
						t.Fatalf("%d %s: %v", a.Status, a.Code, a.Frames)
					}
					harness.WantHeader(t, a.Header, map[string]string{"X-Tenant-Id": "acme", "X-Trace-Id": "*"})
					next := ann.Remember(session, harness.UserSays("and now?", more))
					call := up.Call()
					harness.WantList(t, "what the model gets", call.Said(), []string{"user: hello", "assistant: hi there", "user: and now?"})
					call.Answer("still here")
					next.Whole()
					msgs := ann.History(session)
					harness.WantList(t, "history", harness.Contents(msgs), []string{"user: hello", "assistant: hi there", "user: and now?", "assistant: still here"})
					for _, m := range msgs {
						if m.Status != "complete" || m.TokenCount < 1 || m.ID == "" || m.Timestamp == 0 {
							t.Errorf("stored %+v", m)
						}
					}
				})
			}
			t.Run("is shared with /chat", func(t *testing.T) {
				session := harness.NewSession()
				a := ann.Ask(session, "by chat")
				up.Call().Answer("one")
				a.Events().Rest()
				b := ann.Remember(session, harness.UserSays("by v1"))
				call := up.Call()
				harness.WantList(t, "under /v1", call.Said(), []string{"user: by chat", "assistant: one", "user: by v1"})
				call.Answer("two")
				b.Whole()
				a = ann.Ask(session, "by chat again")
				call = up.Call()
				harness.WantList(t, "under /chat", call.Said(), []string{"user: by chat", "assistant: one", "user: by v1", "assistant: two", "user: by chat again"})
				call.Answer("three")
				a.Events().Rest()
				if l := ann.List("?limit=1").Data.Sessions[0]; l.SessionID != session || l.Title != "by chat" || l.MessageCount != 6 {
					t.Errorf("listed as %+v", l)
				}
			})
			t.Run("is free as soon as the end was read", func(t *testing.T) {
				session := harness.NewSession()
				for i := range 30 {
					more := ""
					if i%2 == 0 {
						more = harness.Streamed
					}
					a := ann.Remember(session, harness.UserSays(fmt.Sprint("q", i), more))
					up.Call().Answer(fmt.Sprint("a", i))
					resp := a.Answer()
					if resp.StatusCode != http.StatusOK {
						t.Fatalf("turn %d: %d %s", i, resp.StatusCode, harness.ReadAll(t, resp))
					}
					if more == "" {
						harness.ReadAll(t, resp)
						continue
					}
					dec := sse.NewDecoder(resp.Body, 0)
					for data := ""; data != "[DONE]"; {
						ev, err := dec.Next()
						if err != nil {
							t.Fatal(err)
						}
						data = string(ev.Data)
					}
					resp.Body.Close()
				}
				if n := len(ann.History(session)); n != 60 {
					t.Errorf("%d messages after 30 turns", n)
				}
			})
			t.Run("takes one turn at a time", func(t *testing.T) {
				session := harness.NewSession()
				a := ann.Remember(session, harness.UserSays("first", harness.Streamed))
				call := up.Call()
				f := harness.WantFailure(t, ann.Remember(session, harness.UserSays("second")).Answer(), 409, "session_busy")
				if f.Error.Type != "invalid_request_error" || f.TraceID2 == "" {
					t.Errorf("not OpenAI's shape: %+v", f)
				}
				harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "second"}), 409, "session_busy")
				b := harness.NewClient(c, "acme", "bob").Remember(session, harness.UserSays("mine"))
				other := up.Call()
				harness.WantList(t, "another user's", other.Said(), []string{"user: mine"})
				other.Answer("yours")
				b.Whole()
				call.Answer("done")
				a.Whole()
				harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: first", "assistant: done"})
			})
			t.Run("belongs to its tenant and user", func(t *testing.T) {
				session := harness.NewSession()
				up.Turn(ann, session, harness.UserSays("ann's secret"), "kept")
				for who, other := range map[string]*harness.Client{
					"another user": harness.NewClient(c, "acme", "bob"), "anonymous": harness.NewClient(c, "acme", ""), "another tenant": harness.NewClient(c, "globex", "ann"),
				} {
					a := other.Remember(session, harness.UserSays("what did she say?"))
					call := up.Call()
					harness.WantList(t, who, call.Said(), []string{"user: what did she say?"})
					call.Answer("nothing")
					a.Whole()
				}
				harness.WantList(t, "ann's", harness.Contents(ann.History(session)), []string{"user: ann's secret", "assistant: kept"})
			})
			t.Run("a refusal removes the messages", func(t *testing.T) {
				session := harness.NewSession()
				a := ann.Remember(session, harness.MessagesBody(`{"role":"user","content":"one"},{"role":"user","content":"two"}`))
				up.Call().Fail(400, `{"error":{"message":"too odd","type":"invalid_request_error","param":null,"code":null}}`)
				if got := a.Whole(); got.Status != http.StatusBadRequest {
					t.Errorf("%d %v", got.Status, got.Frames)
				}
				harness.WantFailure(t, ann.Do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
				up.Turn(ann, session, harness.UserSays("fine"), "good")
				b := ann.Remember(session, harness.UserSays("wicked", harness.Streamed))
				up.Call().Fail(400, `{"error":{"message":"no","type":"invalid_request_error"}}`)
				b.Whole()
				harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: fine", "assistant: good"})
			})
			t.Run("the upstream gets neither session id nor key", func(t *testing.T) {
				a := ann.Remember(harness.NewSession(), harness.UserSays("hi"), "Idempotency-Key", "key-1", "X-Trace-Id", "trace-1")
				call := up.Call()
				call.Answer("ok")
				a.Whole()
				harness.WantHeader(t, call.Header, map[string]string{"X-Session-Id": "", "Idempotency-Key": "", "X-Request-Id": "trace-1"})
			})
		})
	}
}

// TestStatefulPassesOn compares bytes on both sides of a session.
func TestStatefulPassesOn(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, strings.Replace(harness.PlainTenants, "tenant globex {", "tenant globex {\n\t\t\tsystem \"You are Globex's.\"", 1), up.Proxied("system \"You are a helper.\""))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()

	t.Run("only messages change", func(t *testing.T) {
		const before = `{ "x_custom" : {"é":[1, 2 ,{"messages":null}]},"model":"fast", "messages" : [ `
		const after = ` {"role":"user","content":"h\u00e9", "x": 1.50} ] ,"big":12345678901234567890, "stream_options":null}`
		const system = `{"role":"system","content":"You are a helper."},`
		a := ann.Remember(session, before+after)
		call := up.Call()
		// the inserted message follows the white space
		if want := before + " " + system + after[1:]; call.Body != want {
			t.Errorf("the first time:\n got %s\nwant %s", call.Body, want)
		}
		call.Answer(`"yes" <b>`)
		a.Whole()

		a = ann.Remember(session, before+after)
		call = up.Call()
		const history = `{"role":"user","content":"h\u00e9","x":1.50},{"role":"assistant","content":"\"yes\" <b>"},`
		if want := before + " " + system + history + after[1:]; call.Body != want {
			t.Errorf("the second time:\n got %s\nwant %s", call.Body, want)
		}
		call.Answer("again")
		a.Whole()
	})

	t.Run("every event of a stream passes at once", func(t *testing.T) {
		a := ann.Remember(harness.NewSession(), harness.UserSays("hi", harness.Streamed), "Accept-Encoding", "gzip")
		call := up.Call()
		want, r := "", (*harness.RawStream)(nil)
		for _, piece := range []struct{ sent, arrives string }{
			{": a comment\r\n\r\ndata:" + harness.ChunkOf(`{"content":"Grü"}`) + "\n\n", "data: " + harness.ChunkOf(`{"content":"Grü"}`) + "\n\n"},
			{"event: odd\nid: 7\nda", ""},
			{"ta: no json\n\n", "event: odd\ndata: no json\n\n"},
			{"data: " + harness.ChunkOf(`{"content":"ße","reasoning_content":"hm"}`) + "\r\n\r\n", "data: " + harness.ChunkOf(`{"content":"ße","reasoning_content":"hm"}`) + "\n\n"},
			{"data: " + harness.EndOf("stop") + "\n\n", "data: " + harness.EndOf("stop") + "\n\n"},
		} {
			call.Write("text/event-stream; charset=utf-8", piece.sent)
			want += piece.arrives
			if r == nil {
				r = a.Raw()
				harness.WantHeader(t, r.Header, map[string]string{"Content-Type": "text/event-stream; charset=utf-8", "X-Upstream": "kept", "Content-Encoding": ""})
			}
			if piece.arrives != "" {
				r.UpTo(strings.TrimSuffix(piece.arrives, "\n\n"))
			}
		}
		call.Write("", "data: [DONE]\n\n: the end\n\n")
		call.Cut()
		got := ""
		for line := range strings.Lines(r.Rest()) {
			if !strings.HasPrefix(line, "id: ") {
				got += line
			}
		}
		if want += harness.EndMark; got != want {
			t.Errorf("it arrived as\n%s\nwant\n%s", got, want)
		}
	})

	t.Run("documents and errors pass unchanged", func(t *testing.T) {
		doc := " " + harness.WholeOf(`{"role":"assistant","content":"text","annotations":[]}`, "stop") + "\n\n"
		a := ann.Remember(harness.NewSession(), harness.UserSays("hi"))
		call := up.Call()
		for _, p := range []string{doc[:10], doc[10:40], doc[40:]} {
			call.Write("application/json", p)
		}
		call.Cut()
		resp := a.Answer()
		if got := harness.ReadAll(t, resp); got != doc || resp.StatusCode != http.StatusOK {
			t.Errorf("%d %q", resp.StatusCode, got)
		}

		const failure = `{"error":{"message":"slow down, sk-secret","x":1}}`
		a = ann.Remember(harness.NewSession(), harness.UserSays("hi"))
		up.Call().Fail(429, failure)
		resp = a.Answer()
		if got := harness.ReadAll(t, resp); got != failure || resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%d %q", resp.StatusCode, got)
		}
	})

	t.Run("a client's system message replaces the configured one", func(t *testing.T) {
		id := harness.NewSession()
		globex := harness.NewClient(c, "globex", "ann")
		a := globex.Remember(id, harness.UserSays("one"))
		call := up.Call()
		harness.WantList(t, "without", call.Said(), []string{"system: You are Globex's.", "user: one"})
		call.Answer("1")
		a.Whole()
		a = globex.Remember(id, harness.MessagesBody(`{"role":"developer","content":"Be brief."} , {"role":"user","content":"two"}`))
		call = up.Call()
		harness.WantList(t, "with", call.Said(), []string{"developer: Be brief.", "user: one", "assistant: 1", "user: two"})
		call.Answer("2")
		a.Whole()
		a = globex.Remember(id, harness.MessagesBody(`{"role":"system","content":"Go on."}`))
		call = up.Call()
		harness.WantList(t, "alone", call.Said(), []string{"system: Go on.", "user: one", "assistant: 1", "user: two", "assistant: 2"})
		call.Answer("3")
		a.Whole()
		harness.WantList(t, "history", harness.Contents(globex.History(id)), []string{"user: one", "assistant: 1", "user: two", "assistant: 2", "assistant: 3"})

		among := harness.NewSession()
		a = globex.Remember(among, harness.UserSays("one"))
		up.Call().Answer("1")
		a.Whole()
		a = globex.Remember(among, harness.MessagesBody(`{"role":"user","content":"one"},{"role":"assistant","content":"1"},{"role":"developer","content":"Be brief."},{"role":"user","content":"two"}`))
		call = up.Call()
		harness.WantList(t, "later ones do not", call.Said(), []string{"system: You are Globex's.", "user: one", "assistant: 1", "developer: Be brief.", "user: two"})
		call.Answer("2")
		a.Whole()

		begins := harness.NewSession()
		a = globex.Remember(begins, harness.MessagesBody(`{"role":"system","content":"Begin."}`))
		up.Call().Answer("Once upon a time")
		a.Whole()
		harness.WantList(t, "history", harness.Contents(globex.History(begins)), []string{"assistant: Once upon a time"})
	})

	t.Run("without a session id everything passes unchanged", func(t *testing.T) {
		const odd = `this is no JSON`
		a := ann.Start(ann.Request(http.MethodPost, harness.CompletionsPath, odd, "Content-Type", "text/plain", "Idempotency-Key", "key-1"))
		call := up.Call()
		if call.Body != odd || call.Header.Get("Idempotency-Key") != "key-1" || call.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("got %q with %v", call.Body, call.Header)
		}
		call.Write("text/odd", "no JSON either")
		call.Cut()
		resp := a.Answer()
		if got := harness.ReadAll(t, resp); got != "no JSON either" || resp.Header.Get("X-Tenant-Id") != "" {
			t.Errorf("%q, %v", got, resp.Header)
		}
		for _, path := range []string{"/v1/embeddings", "/v1/chat/completions/x", "/v1/models"} {
			b := ann.Start(ann.Request(http.MethodPost, path, odd, "X-Session-Id", "no uuid"))
			call := up.Call()
			if call.Body != odd {
				t.Errorf("%s: got %q", path, call.Body)
			}
			call.Cut()
			b.Answer().Body.Close()
		}
	})

	t.Run("an unreachable upstream is a plain 502", func(t *testing.T) {
		gone := harness.Start(t, harness.PlainTenants, fmt.Sprintf("tenant_resolve\nchat_session\nreverse_proxy 127.0.0.1:%d\n", harness.FreePort(t)))
		cl := harness.NewClient(gone, "acme", "ann")
		id := harness.NewSession()
		resp := cl.Remember(id, harness.UserSays("hello?")).Answer()
		if body := harness.ReadAll(t, resp); resp.StatusCode != http.StatusBadGateway || body != "" {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		harness.WantList(t, "history", harness.Contents(cl.History(id)), []string{"user: hello?"})
	})

	t.Run("an answer that is not a completion passes unchanged and is not stored", func(t *testing.T) {
		id := harness.NewSession()
		for _, doc := range []string{"", "<html>", `{"choices":[]}`, `[`, `{"error":{"message":"with 200"}}`} {
			a := ann.Remember(id, harness.UserSays("hello?"))
			call := up.Call()
			call.Write("application/json", doc)
			call.Cut()
			if resp := a.Answer(); harness.ReadAll(t, resp) != doc || resp.StatusCode != http.StatusOK {
				t.Errorf("%q arrived with status %d", doc, resp.StatusCode)
			}
		}
		harness.WantList(t, "history", harness.Contents(ann.History(id)), []string{"user: hello?"})
	})
}

func TestStatefulRefusals(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Proxied("max_body 11MiB"))
	ann := harness.NewClient(c, "acme", "ann")
	ok := harness.UserSays("hi")

	t.Run("an invalid session id", func(t *testing.T) {
		for _, id := range []string{"x", " ", "6f6c1c3e9f0b4c7e8d550a1b2c3d4e5f", "{6f6c1c3e-9f0b-4c7e-8d55-0a1b2c3d4e5f}", harness.NewSession() + "x", harness.NewSession() + "," + harness.NewSession()} {
			f := harness.WantFailure(t, ann.Remember(id, ok).Answer(), 400, "invalid_request")
			if f.Error.Param == nil || *f.Error.Param != "X-Session-Id" || !strings.Contains(f.Error.Message, "UUID") {
				t.Errorf("%q: %+v", id, f.Error)
			}
		}
		req := ann.Request(http.MethodPost, harness.CompletionsPath, ok)
		req.Header["X-Session-Id"] = []string{harness.NewSession(), harness.NewSession()}
		harness.WantFailure(t, ann.Start(req).Answer(), 400, "invalid_request")
	})

	t.Run("an invalid body", func(t *testing.T) {
		const large = 10<<20 + 1
		for _, tc := range []struct {
			body   string
			status int
			code   string
			param  string
		}{
			{``, 400, "invalid_json", ""},
			{`{`, 400, "invalid_json", ""},
			{`[]`, 400, "invalid_request", "body"},
			{`{"messages":[{"role":"user","content":"a"}],"messages":[]}`, 400, "invalid_json", ""},
			{`{}`, 400, "invalid_request", "messages"},
			{`{"messages":[]}`, 400, "invalid_request", "messages"},
			{`{"messages":"hi"}`, 400, "invalid_request", "messages"},
			{harness.MessagesBody(`"hi"`), 400, "invalid_request", "messages.0"},
			{harness.MessagesBody(`{"role":"user","content":"a"},{"content":"b"}`), 400, "invalid_request", "messages.1.role"},
			{harness.MessagesBody(`{"role":7}`), 400, "invalid_request", "messages.0.role"},
			{harness.UserSays(strings.Repeat("x", large)), 413, "payload_too_large", "messages.0"},
			{harness.UserSays(strings.Repeat("x", 11<<20)), 413, "payload_too_large", ""},
		} {
			name := tc.body[:min(len(tc.body), 60)]
			f := harness.WantFailure(t, ann.Remember(harness.NewSession(), tc.body).Answer(), tc.status, tc.code)
			param := ""
			if f.Error.Param != nil {
				param = *f.Error.Param
			}
			if param != tc.param || f.Error.Type != "invalid_request_error" {
				t.Errorf("%s: %+v", name, f.Error)
			}
		}
		resp := ann.Remember(harness.NewSession(), ok, "Content-Type", "text/plain").Answer()
		harness.WantFailure(t, resp, 415, "unsupported_media_type")
	})

	t.Run("a request without a tenant", func(t *testing.T) {
		closed := harness.Start(t, harness.PlainTenants, "chat_session\nrespond 418")
		stranger := harness.NewClient(closed, "", "")
		harness.WantFailure(t, stranger.Remember(harness.NewSession(), ok).Answer(), 400, "tenant_required")
	})

	if len(up.Calls) > 0 {
		t.Errorf("the upstream was called: %s", (<-up.Calls).Body)
	}
	if l := ann.List(""); len(l.Data.Sessions) != 0 {
		t.Errorf("stored %+v", l.Data.Sessions)
	}

	t.Run("other methods pass on", func(t *testing.T) {
		a := ann.Start(ann.Request(http.MethodGet, harness.CompletionsPath, nil, "X-Session-Id", "x"))
		call := up.Call()
		if gjson.Valid(call.Body) {
			t.Errorf("got %q", call.Body)
		}
		call.Cut()
		a.Answer().Body.Close()
	})
}
