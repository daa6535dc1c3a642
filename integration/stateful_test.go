package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/modules/sse"
)

// TestStateful has what holds for a session under /v1 whatever answers
// behind it.
func TestStateful(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	for name, site := range map[string]string{"gateway": up.gateway(""), "proxy": up.proxied("")} {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, plainTenants, site)
			ann := newClient(c, "acme", "ann")
			for _, more := range []string{"", streamed} {
				t.Run("remembers"+more, func(t *testing.T) {
					session := newSession()
					a := up.turn(ann, session, userSays("hello", more), "hi there")
					if a.status != http.StatusOK || a.Text != "hi there" || a.Finish != "stop" || a.code != "" {
						t.Fatalf("%d %s: %v", a.status, a.code, a.frames)
					}
					wantHeader(t, a.header, map[string]string{"X-Tenant-Id": "acme", "X-Trace-Id": "*"})
					next := ann.remember(session, userSays("and now?", more))
					call := up.call()
					wantList(t, "what the model gets", call.said(), []string{"user: hello", "assistant: hi there", "user: and now?"})
					call.answer("still here")
					next.whole()
					msgs := ann.history(session)
					wantList(t, "history", contents(msgs), []string{"user: hello", "assistant: hi there", "user: and now?", "assistant: still here"})
					for _, m := range msgs {
						if m.Status != "complete" || m.TokenCount < 1 || m.ID == "" || m.Timestamp == 0 {
							t.Errorf("stored is %+v", m)
						}
					}
				})
			}
			t.Run("is one with a session of /chat", func(t *testing.T) {
				session := newSession()
				a := ann.ask(session, "by chat")
				up.call().answer("one")
				a.events().rest()
				b := ann.remember(session, userSays("by v1"))
				call := up.call()
				wantList(t, "under /v1", call.said(), []string{"user: by chat", "assistant: one", "user: by v1"})
				call.answer("two")
				b.whole()
				a = ann.ask(session, "by chat again")
				call = up.call()
				wantList(t, "under /chat", call.said(), []string{"user: by chat", "assistant: one", "user: by v1", "assistant: two", "user: by chat again"})
				call.answer("three")
				a.events().rest()
				if l := ann.list("?limit=1").Data.Sessions[0]; l.SessionID != session || l.Title != "by chat" || l.MessageCount != 6 {
					t.Errorf("listed as %+v", l)
				}
			})
			t.Run("may go on as soon as the end was read", func(t *testing.T) {
				session := newSession()
				for i := range 30 {
					more := ""
					if i%2 == 0 {
						more = streamed
					}
					a := ann.remember(session, userSays(fmt.Sprint("q", i), more))
					up.call().answer(fmt.Sprint("a", i))
					resp := a.answer()
					if resp.StatusCode != http.StatusOK {
						t.Fatalf("turn %d: %d %s", i, resp.StatusCode, readAll(t, resp))
					}
					if more == "" {
						readAll(t, resp)
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
				if n := len(ann.history(session)); n != 60 {
					t.Errorf("%d messages after 30 turns", n)
				}
			})
			t.Run("is one turn at a time", func(t *testing.T) {
				session := newSession()
				a := ann.remember(session, userSays("first", streamed))
				call := up.call()
				f := wantFailure(t, ann.remember(session, userSays("second")).answer(), 409, "session_busy")
				if f.Error.Type != "invalid_request_error" || f.TraceID2 == "" {
					t.Errorf("not OpenAI's shape: %+v", f)
				}
				wantFailure(t, ann.do(http.MethodPost, "/chat", ask{SessionID: session, Message: "second"}), 409, "session_busy")
				b := newClient(c, "acme", "bob").remember(session, userSays("mine"))
				other := up.call()
				wantList(t, "another user's", other.said(), []string{"user: mine"})
				other.answer("yours")
				b.whole()
				call.answer("done")
				a.whole()
				wantList(t, "history", contents(ann.history(session)), []string{"user: first", "assistant: done"})
			})
			t.Run("belongs to its tenant and user", func(t *testing.T) {
				session := newSession()
				up.turn(ann, session, userSays("ann's secret"), "kept")
				for who, other := range map[string]*client{
					"another user": newClient(c, "acme", "bob"), "nobody": newClient(c, "acme", ""), "another tenant": newClient(c, "globex", "ann"),
				} {
					a := other.remember(session, userSays("what did she say?"))
					call := up.call()
					wantList(t, who, call.said(), []string{"user: what did she say?"})
					call.answer("nothing")
					a.whole()
				}
				wantList(t, "ann's", contents(ann.history(session)), []string{"user: ann's secret", "assistant: kept"})
			})
			t.Run("a refusal takes the messages back", func(t *testing.T) {
				session := newSession()
				a := ann.remember(session, messagesBody(`{"role":"user","content":"one"},{"role":"user","content":"two"}`))
				up.call().fail(400, `{"error":{"message":"too odd","type":"invalid_request_error","param":null,"code":null}}`)
				if got := a.whole(); got.status != http.StatusBadRequest {
					t.Errorf("%d %v", got.status, got.frames)
				}
				wantFailure(t, ann.do(http.MethodGet, "/chat/"+session+"/history", nil), 404, "session_not_found")
				up.turn(ann, session, userSays("fine"), "good")
				b := ann.remember(session, userSays("wicked", streamed))
				up.call().fail(400, `{"error":{"message":"no","type":"invalid_request_error"}}`)
				b.whole()
				wantList(t, "history", contents(ann.history(session)), []string{"user: fine", "assistant: good"})
			})
			t.Run("what is sent on tells nothing of it", func(t *testing.T) {
				a := ann.remember(newSession(), userSays("hi"), "Idempotency-Key", "key-1", "X-Trace-Id", "trace-1")
				call := up.call()
				call.answer("ok")
				a.whole()
				wantHeader(t, call.header, map[string]string{"X-Session-Id": "", "Idempotency-Key": "", "X-Request-Id": "trace-1"})
			})
		})
	}
}

// TestStatefulPassesOn compares bytes on both sides of a session.
func TestStatefulPassesOn(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, strings.Replace(plainTenants, "tenant globex {", "tenant globex {\n\t\t\tsystem \"You are Globex's.\"", 1), up.proxied("system \"You are anybody's.\""))
	ann := newClient(c, "acme", "ann")
	session := newSession()

	t.Run("only messages change", func(t *testing.T) {
		const before = `{ "x_custom" : {"é":[1, 2 ,{"messages":null}]},"model":"fast", "messages" : [ `
		const after = ` {"role":"user","content":"h\u00e9", "x": 1.50} ] ,"big":12345678901234567890, "stream_options":null}`
		const system = `{"role":"system","content":"You are anybody's."},`
		a := ann.remember(session, before+after)
		call := up.call()
		// the message begins behind the white space
		if want := before + " " + system + after[1:]; call.body != want {
			t.Errorf("the first time:\n got %s\nwant %s", call.body, want)
		}
		call.answer(`"yes" <b>`)
		a.whole()

		a = ann.remember(session, before+after)
		call = up.call()
		const history = `{"role":"user","content":"h\u00e9","x":1.50},{"role":"assistant","content":"\"yes\" <b>"},`
		if want := before + " " + system + history + after[1:]; call.body != want {
			t.Errorf("the second time:\n got %s\nwant %s", call.body, want)
		}
		call.answer("again")
		a.whole()
	})

	t.Run("the answer is as it was written, when it was written", func(t *testing.T) {
		a := ann.remember(newSession(), userSays("hi", streamed), "Accept-Encoding", "gzip")
		call := up.call()
		pieces := []string{
			": a comment\r\n\r\n", "data:" + chunkOf(`{"content":"Grü"}`) + "\n\n", "event: odd\nid: 7\nda", "ta: no json\n\n",
			"data: " + chunkOf(`{"content":"ße","reasoning_content":"hm"}`) + "\r\n\r\n", "data: " + endOf("stop") + "\n\n",
		}
		want, resp := "", (*http.Response)(nil)
		for _, p := range pieces {
			call.write("text/event-stream; charset=utf-8", p)
			want += p
			if resp == nil {
				resp = a.answer()
				wantHeader(t, resp.Header, map[string]string{"Content-Type": "text/event-stream; charset=utf-8", "X-Upstream": "kept", "Content-Encoding": ""})
			}
			got := make([]byte, len(p))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != p {
				t.Fatalf("%q came through as %q (%v)", p, got, err)
			}
		}
		call.write("", "data: [DONE]\n\n: the end\n\n")
		call.cut()
		if got := readAll(t, resp); got != "data: [DONE]\n\n: the end\n\n" {
			t.Errorf("the end came through as %q", got)
		}
	})

	t.Run("so is a document, and an error", func(t *testing.T) {
		doc := " " + wholeOf(`{"role":"assistant","content":"text","annotations":[]}`, "stop") + "\n\n"
		a := ann.remember(newSession(), userSays("hi"))
		call := up.call()
		for _, p := range []string{doc[:10], doc[10:40], doc[40:]} {
			call.write("application/json", p)
		}
		call.cut()
		resp := a.answer()
		if got := readAll(t, resp); got != doc || resp.StatusCode != http.StatusOK {
			t.Errorf("%d %q", resp.StatusCode, got)
		}

		const failure = `{"error":{"message":"slow down, sk-secret","x":1}}`
		a = ann.remember(newSession(), userSays("hi"))
		up.call().fail(429, failure)
		resp = a.answer()
		if got := readAll(t, resp); got != failure || resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%d %q", resp.StatusCode, got)
		}
	})

	t.Run("a system message of the client's own stands alone, in front", func(t *testing.T) {
		id := newSession()
		globex := newClient(c, "globex", "ann")
		a := globex.remember(id, userSays("one"))
		call := up.call()
		wantList(t, "without", call.said(), []string{"system: You are Globex's.", "user: one"})
		call.answer("1")
		a.whole()
		a = globex.remember(id, messagesBody(`{"role":"developer","content":"Be brief."} , {"role":"user","content":"two"}`))
		call = up.call()
		wantList(t, "with", call.said(), []string{"developer: Be brief.", "user: one", "assistant: 1", "user: two"})
		call.answer("2")
		a.whole()
		a = globex.remember(id, messagesBody(`{"role":"system","content":"Go on."}`))
		call = up.call()
		wantList(t, "alone", call.said(), []string{"system: Go on.", "user: one", "assistant: 1", "user: two", "assistant: 2"})
		call.answer("3")
		a.whole()
		wantList(t, "history", contents(globex.history(id)), []string{"user: one", "assistant: 1", "user: two", "assistant: 2", "assistant: 3"})

		begins := newSession()
		a = globex.remember(begins, messagesBody(`{"role":"system","content":"Begin."}`))
		up.call().answer("Once upon a time")
		a.whole()
		wantList(t, "history", contents(globex.history(begins)), []string{"assistant: Once upon a time"})
	})

	t.Run("without a session nothing is touched", func(t *testing.T) {
		const odd = `this is no JSON`
		a := ann.start(ann.request(http.MethodPost, completions, odd, "Content-Type", "text/plain", "Idempotency-Key", "key-1"))
		call := up.call()
		if call.body != odd || call.header.Get("Idempotency-Key") != "key-1" || call.header.Get("Content-Type") != "text/plain" {
			t.Errorf("got %q with %v", call.body, call.header)
		}
		call.write("text/odd", "no JSON either")
		call.cut()
		resp := a.answer()
		if got := readAll(t, resp); got != "no JSON either" || resp.Header.Get("X-Tenant-Id") != "" {
			t.Errorf("%q, %v", got, resp.Header)
		}
		for _, path := range []string{"/v1/embeddings", "/v1/chat/completions/", "/v1/models"} {
			b := ann.start(ann.request(http.MethodPost, path, odd, "X-Session-Id", "no uuid"))
			call := up.call()
			if call.body != odd {
				t.Errorf("%s: got %q", path, call.body)
			}
			call.cut()
			b.answer().Body.Close()
		}
	})

	t.Run("an upstream that is not there is the server's error", func(t *testing.T) {
		gone := startCaddy(t, plainTenants, fmt.Sprintf("tenant_resolve\nchat_session\nreverse_proxy 127.0.0.1:%d\n", freePort(t)))
		cl := newClient(gone, "acme", "ann")
		id := newSession()
		resp := cl.remember(id, userSays("hello?")).answer()
		if body := readAll(t, resp); resp.StatusCode != http.StatusBadGateway || body != "" {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		wantList(t, "history", contents(cl.history(id)), []string{"user: hello?"})
	})

	t.Run("nor does an upstream that says something else do harm", func(t *testing.T) {
		id := newSession()
		for _, doc := range []string{"", "<html>", `{"choices":[]}`, `[`, `{"error":{"message":"with 200"}}`} {
			a := ann.remember(id, userSays("hello?"))
			call := up.call()
			call.write("application/json", doc)
			call.cut()
			if resp := a.answer(); readAll(t, resp) != doc || resp.StatusCode != http.StatusOK {
				t.Errorf("%q came through as %d", doc, resp.StatusCode)
			}
		}
		wantList(t, "history", contents(ann.history(id)), []string{"user: hello?"})
	})
}

func TestStatefulRefusals(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.proxied("max_body 11MiB"))
	ann := newClient(c, "acme", "ann")
	ok := userSays("hi")

	t.Run("a session that is none", func(t *testing.T) {
		for _, id := range []string{"x", " ", "6f6c1c3e9f0b4c7e8d550a1b2c3d4e5f", "{6f6c1c3e-9f0b-4c7e-8d55-0a1b2c3d4e5f}", newSession() + "x", newSession() + "," + newSession()} {
			f := wantFailure(t, ann.remember(id, ok).answer(), 400, "invalid_request")
			if f.Error.Param == nil || *f.Error.Param != "X-Session-Id" || !strings.Contains(f.Error.Message, "UUID") {
				t.Errorf("%q: %+v", id, f.Error)
			}
		}
		req := ann.request(http.MethodPost, completions, ok)
		req.Header["X-Session-Id"] = []string{newSession(), newSession()}
		wantFailure(t, ann.start(req).answer(), 400, "invalid_request")
	})

	t.Run("a body that is none", func(t *testing.T) {
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
			{messagesBody(`"hi"`), 400, "invalid_request", "messages.0"},
			{messagesBody(`{"role":"user","content":"a"},{"content":"b"}`), 400, "invalid_request", "messages.1.role"},
			{messagesBody(`{"role":7}`), 400, "invalid_request", "messages.0.role"},
			{userSays(strings.Repeat("x", large)), 413, "payload_too_large", "messages.0"},
			{userSays(strings.Repeat("x", 11<<20)), 413, "payload_too_large", ""},
		} {
			name := tc.body[:min(len(tc.body), 60)]
			f := wantFailure(t, ann.remember(newSession(), tc.body).answer(), tc.status, tc.code)
			param := ""
			if f.Error.Param != nil {
				param = *f.Error.Param
			}
			if param != tc.param || f.Error.Type != "invalid_request_error" {
				t.Errorf("%s: %+v", name, f.Error)
			}
		}
		resp := ann.remember(newSession(), ok, "Content-Type", "text/plain").answer()
		wantFailure(t, resp, 415, "unsupported_media_type")
	})

	t.Run("a request without a tenant", func(t *testing.T) {
		closed := startCaddy(t, plainTenants, "chat_session\nrespond 418")
		nobody := newClient(closed, "", "")
		wantFailure(t, nobody.remember(newSession(), ok).answer(), 400, "tenant_required")
	})

	if len(up.calls) > 0 {
		t.Errorf("the upstream was called: %s", (<-up.calls).body)
	}
	if l := ann.list(""); len(l.Data.Sessions) != 0 {
		t.Errorf("stored are %+v", l.Data.Sessions)
	}

	t.Run("other methods are for whatever follows", func(t *testing.T) {
		a := ann.start(ann.request(http.MethodGet, completions, nil, "X-Session-Id", "x"))
		call := up.call()
		if gjson.Valid(call.body) {
			t.Errorf("got %q", call.body)
		}
		call.cut()
		a.answer().Body.Close()
	})
}
