package integration

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// callA and callB are tool calls as a document has them.
const (
	callA = `{"id":"call_a","type":"function","function":{"name":"look","arguments":"{\"at\":\"<b>\"}"}}`
	callB = `{"id":"call_b","type":"function","function":{"name":"go","arguments":"{}"}}`
	tools = `,"tools":[{"type":"function","function":{"name":"look"}},{"type":"function","function":{"name":"go"}}]`
)

// makeCalls answers with both of them; a stream has them in pieces.
func (c *wireCall) makeCalls(text string) {
	c.t.Helper()
	if !gjson.Get(c.body, "stream").Bool() {
		c.document(wholeOf(`{"role":"assistant","content":`+quote(text)+`,"tool_calls":[`+callA+`,`+callB+`]}`, "tool_calls"))
		return
	}
	c.event(chunkOf(`{"role":"assistant","content":` + quote(text) + `}`))
	c.stream(
		chunkOf(`{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"look","arguments":""}}]}`),
		chunkOf(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"at\":"}},{"index":1,"id":"call_b","type":"function","function":{"name":"go","arguments":"{"}}]}`),
		chunkOf(`{"tool_calls":[{"index":1,"function":{"arguments":"}"}}]}`),
		chunkOf(`{"tool_calls":[{"index":0,"function":{"arguments":"\"<b>\"}"}}]}`),
		endOf("tool_calls"),
	)
}

func result(id, content string) string {
	return `{"role":"tool","tool_call_id":` + quote(id) + `,"content":` + quote(content) + `}`
}

// shownTools are a message's fields of tool calls in the history.
type shownTools struct {
	Role       string          `json:"role"`
	Content    *string         `json:"content"`
	ToolCalls  json.RawMessage `json:"toolCalls"`
	ToolCallID *string         `json:"toolCallId"`
	Status     string          `json:"status"`
}

func (c *client) toolHistory(session string) []shownTools {
	c.t.Helper()
	var h struct {
		Data struct{ Messages []shownTools }
	}
	c.call(http.MethodGet, "/chat/"+session+"/history", nil, &h)
	return h.Data.Messages
}

func TestStatefulTools(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	for name, site := range map[string]string{"gateway": up.gateway(""), "proxy": up.proxied("")} {
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, plainTenants, site)
			ann := newClient(c, "acme", "ann")
			for _, more := range []string{"", streamed} {
				t.Run("go round"+more, func(t *testing.T) {
					session := newSession()
					a := ann.remember(session, userSays("look around", tools, more))
					up.call().makeCalls("")
					if got := a.whole(); got.Finish != "tool_calls" || len(got.calls) != 2 || got.calls[0].Arguments != `{"at":"<b>"}` {
						t.Fatalf("the client got %v", got.frames)
					}

					a = ann.remember(session, messagesBody(result("call_a", "a bear")+","+result("call_b", "gone"), tools, more))
					call := up.call()
					wantList(t, "with the results", call.said(), []string{"user: look around", "assistant:  +call_a +call_b", "tool: a bear -call_a", "tool: gone -call_b"})
					replayed := gjson.Parse(call.messages()[1])
					if replayed.Get("tool_calls").Raw != "["+callA+","+callB+"]" || replayed.Get("content").Type != gjson.Null {
						t.Errorf("replayed as %s", replayed.Raw)
					}
					call.answer("a bear, gone")
					a.whole()

					a = ann.remember(session, userSays("thanks", more))
					call = up.call()
					wantList(t, "later", call.said(), []string{
						"user: look around", "assistant:  +call_a +call_b", "tool: a bear -call_a", "tool: gone -call_b", "assistant: a bear, gone", "user: thanks",
					})
					call.answer("any time")
					a.whole()

					msgs := ann.toolHistory(session)
					if len(msgs) != 7 {
						t.Fatalf("%d messages", len(msgs))
					}
					if m := msgs[1]; m.Role != "assistant" || *m.Content != "" || !jsonEqual(m.ToolCalls, "["+callA+","+callB+"]") || m.ToolCallID != nil || m.Status != "complete" {
						t.Errorf("shown as %+v %s", m, m.ToolCalls)
					}
					if m := msgs[2]; m.Role != "tool" || *m.Content != "a bear" || m.ToolCalls != nil || *m.ToolCallID != "call_a" {
						t.Errorf("shown as %+v", m)
					}
					if m := msgs[4]; m.ToolCalls != nil || m.ToolCallID != nil {
						t.Errorf("shown as %+v", m)
					}
				})
			}

			t.Run("calls that nobody answered are not sent alone", func(t *testing.T) {
				session := newSession()
				a := ann.remember(session, userSays("look", tools))
				up.call().makeCalls("wait")
				a.whole()
				a = ann.remember(session, userSays("never mind"))
				call := up.call()
				wantList(t, "prompt", call.said(), []string{"user: look", "assistant: wait", "user: never mind"})
				call.answer("fine")
				a.whole()
				if msgs := ann.toolHistory(session); len(msgs) != 4 || !jsonEqual(msgs[1].ToolCalls, "["+callA+","+callB+"]") {
					t.Errorf("shown as %+v", msgs)
				}
			})

			t.Run("nor those whose turn was cancelled", func(t *testing.T) {
				session := newSession()
				a := ann.remember(session, userSays("look", tools, streamed))
				call := up.call()
				call.event(chunkOf(`{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"look","arguments":"{\"at\""}}]}`))
				a.answer()
				eventually(t, "the turn is running", func() bool { return ann.cancelTurn(session) })
				call.wantGone()
				eventually(t, "the session is free", func() bool {
					a = ann.remember(session, userSays("again"))
					select {
					case call = <-up.calls:
						return true
					case resp := <-a.resp:
						wantFailure(t, resp, 409, "session_busy")
						return false
					}
				})
				wantList(t, "prompt", call.said(), []string{"user: look", "user: again"})
				call.answer("fine")
				a.whole()
				msgs := ann.toolHistory(session)
				if len(msgs) != 4 || msgs[1].Status != "partial" || gjson.GetBytes(msgs[1].ToolCalls, "0.function.arguments").Str != `{"at"` {
					t.Errorf("shown as %+v", msgs)
				}
			})
		})
	}
}

// TestStatefulRepeats has clients that send something again: the results that
// found no answer, or the whole conversation every time.
func TestStatefulRepeats(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.proxied(""))
	ann := newClient(c, "acme", "ann")

	t.Run("a question that found no answer", func(t *testing.T) {
		session := newSession()
		for range 2 {
			a := ann.remember(session, userSays("try"))
			call := up.call()
			wantList(t, "prompt", call.said(), []string{"user: try"})
			call.fail(503, `{"error":{"message":"overloaded"}}`)
			a.answer().Body.Close()
		}
		wantList(t, "history", contents(ann.history(session)), []string{"user: try"})
		up.turn(ann, session, userSays("try"), "done")
		a := ann.remember(session, userSays("try"))
		call := up.call()
		wantList(t, "once it was answered", call.said(), []string{"user: try", "assistant: done", "user: try"})
		call.answer("again")
		a.whole()
	})

	t.Run("results that found no answer", func(t *testing.T) {
		session := newSession()
		a := ann.remember(session, userSays("look", tools))
		up.call().makeCalls("")
		a.whole()
		results := messagesBody(result("call_a", "1") + "," + result("call_b", "2"))
		want := []string{"user: look", "assistant:  +call_a +call_b", "tool: 1 -call_a", "tool: 2 -call_b"}
		a = ann.remember(session, results)
		call := up.call()
		wantList(t, "prompt", call.said(), want)
		call.fail(500, `{}`)
		a.answer().Body.Close()
		a = ann.remember(session, results)
		call = up.call()
		wantList(t, "prompt", call.said(), want)
		call.answer("done")
		a.whole()
		if n := len(ann.history(session)); n != 5 {
			t.Errorf("%d messages", n)
		}
	})

	t.Run("the whole conversation", func(t *testing.T) {
		session := newSession()
		var all []string
		for i, q := range []string{"one", "two", "three"} {
			all = append(all, `{"role":"user","content":`+quote(q)+`}`)
			a := ann.remember(session, messagesBody(strings.Join(append([]string{`{"role":"system","content":"Be brief."}`}, all...), ","), tools))
			call := up.call()
			if got := call.messages(); len(got) != len(all)+1 {
				t.Errorf("the model gets %v", call.said())
			}
			if i == 1 {
				call.makeCalls("")
				a.whole()
				all = append(all, `{"role":"assistant","content":null,"refusal":null,"tool_calls":[`+callA+`,`+callB+`]}`, result("call_a", "1"), result("call_b", "2"))
				a = ann.remember(session, messagesBody(strings.Join(all, ",")))
				call = up.call()
				if got := call.messages(); len(got) != len(all) {
					t.Errorf("the model gets %v", call.said())
				}
			}
			call.answer("to " + q)
			a.whole()
			all = append(all, `{"role":"assistant","content":`+quote("to "+q)+`,"refusal":null,"annotations":[]}`)
		}
		wantList(t, "history", contents(ann.history(session)), []string{
			"user: one", "assistant: to one", "user: two", "assistant: ", "tool: 1", "tool: 2", "assistant: to two", "user: three", "assistant: to three",
		})
	})
}

// TestStatefulLimits has the bounds of the context cut between messages that
// may be parted only.
func TestStatefulLimits(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.proxied("context_messages 3\n\t\tmax_messages 5"))
	ann := newClient(c, "acme", "ann")
	session := newSession()
	a := ann.remember(session, userSays("look", tools))
	up.call().makeCalls("")
	a.whole()
	a = ann.remember(session, messagesBody(result("call_a", "1")+","+result("call_b", "2")))
	call := up.call()
	wantList(t, "the calls whose results are sent", call.said(), []string{"user: look", "assistant:  +call_a +call_b", "tool: 1 -call_a", "tool: 2 -call_b"})
	call.answer("both")
	a.whole()

	a = ann.remember(session, userSays("go on"))
	call = up.call()
	wantList(t, "a result begins nothing", call.said(), []string{"assistant: both", "user: go on"})
	call.answer("on")
	a.whole()
	wantList(t, "history", contents(ann.history(session)), []string{"tool: 1", "tool: 2", "assistant: both", "user: go on", "assistant: on"})

	t.Run("more messages than are kept", func(t *testing.T) {
		session := newSession()
		many := strings.Repeat(`{"role":"user","content":"x"},`, 2000) + `{"role":"user","content":"last"}`
		a := ann.remember(session, messagesBody(many))
		call := up.call()
		if n := len(call.messages()); n != 2001 {
			t.Errorf("%d messages went on", n)
		}
		call.answer("ok")
		a.whole()
		wantList(t, "history", contents(ann.history(session)), []string{"user: x", "user: x", "user: x", "user: last", "assistant: ok"})
	})
}

// TestStatefulParts has images and other parts come back as they were sent.
func TestStatefulParts(t *testing.T) {
	t.Parallel()
	up := newWireUpstream(t)
	c := startCaddy(t, plainTenants, up.proxied(""))
	ann := newClient(c, "acme", "ann")
	picture := func(size int) string {
		return `{"role":"user","content":[{"type":"text","text":"what is <this>?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,` + strings.Repeat("A", size) + `"}}]}`
	}

	t.Run("a picture of a megabyte", func(t *testing.T) {
		session := newSession()
		a := ann.remember(session, messagesBody(picture(1<<20)))
		up.call().answer("a bear")
		a.whole()
		a = ann.remember(session, userSays("which one?"))
		call := up.call()
		if got := call.messages(); len(got) != 3 || got[0] != picture(1<<20) {
			t.Errorf("the model gets %d messages", len(got))
		}
		call.answer("brown")
		a.whole()
		b := ann.ask(session, "and under /chat?")
		call = up.call()
		if got := call.messages(); len(got) != 5 || got[0] != picture(1<<20) {
			t.Errorf("under /chat the model gets %d messages", len(got))
		}
		call.answer("too")
		b.events().rest()
		msgs := ann.history(session)
		if msgs[0].Content != "what is <this>?" || msgs[0].TokenCount < 1000 || msgs[0].TokenCount > 1100 {
			t.Errorf("shown as %+v", msgs[0])
		}
		if l := ann.list("").Data.Sessions[0]; l.Title != "what is <this>?" {
			t.Errorf("the title is %q", l.Title)
		}
	})

	t.Run("as much as fits a request", func(t *testing.T) {
		session := newSession()
		for range 3 {
			a := ann.remember(session, messagesBody(picture(4<<20)))
			call := up.call()
			if len(call.body) > 10<<20 {
				t.Errorf("the request has %d bytes", len(call.body))
			}
			call.answer("yes")
			a.whole()
		}
		a := ann.remember(session, userSays("all of them?"))
		call := up.call()
		if n := strings.Count(call.body, "image_url\","); n != 2 || len(call.body) > 10<<20 {
			t.Errorf("%d pictures in %d bytes", n, len(call.body))
		}
		call.answer("two")
		a.whole()
		if n := len(ann.history(session)); n != 8 {
			t.Errorf("%d messages", n)
		}
	})

	t.Run("the largest there is", func(t *testing.T) {
		session := newSession()
		text := strings.Repeat("<", 10<<20-200)
		a := ann.remember(session, messagesBody(`{"role":"user","content":"`+text+`"}`))
		call := up.call()
		call.answer("ok")
		a.whole()
		msgs := ann.history(session)
		if len(msgs) != 2 || msgs[0].Content != text {
			t.Errorf("%d messages", len(msgs))
		}
	})
}

// jsonEqual compares JSON whatever its white space and escapes.
func jsonEqual(a []byte, b string) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	one, _ := json.Marshal(x)
	two, _ := json.Marshal(y)
	return string(one) == string(two)
}
