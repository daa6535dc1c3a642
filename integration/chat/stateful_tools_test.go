package chat

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// callA and callB are tool calls as in a document.
const (
	callA = `{"id":"call_a","type":"function","function":{"name":"look","arguments":"{\"at\":\"<b>\"}"}}`
	callB = `{"id":"call_b","type":"function","function":{"name":"go","arguments":"{}"}}`
	tools = `,"tools":[{"type":"function","function":{"name":"look"}},{"type":"function","function":{"name":"go"}}]`
)

// makeCalls answers with callA and callB, in pieces if it streams.
func makeCalls(c *harness.HeldCall, text string) {
	c.T.Helper()
	if !gjson.Get(c.Body, "stream").Bool() {
		c.Document(harness.WholeOf(`{"role":"assistant","content":`+harness.Quote(text)+`,"tool_calls":[`+callA+`,`+callB+`]}`, "tool_calls"))
		return
	}
	c.Event(harness.ChunkOf(`{"role":"assistant","content":` + harness.Quote(text) + `}`))
	c.Stream(
		harness.ChunkOf(`{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"look","arguments":""}}]}`),
		harness.ChunkOf(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"at\":"}},{"index":1,"id":"call_b","type":"function","function":{"name":"go","arguments":"{"}}]}`),
		harness.ChunkOf(`{"tool_calls":[{"index":1,"function":{"arguments":"}"}}]}`),
		harness.ChunkOf(`{"tool_calls":[{"index":0,"function":{"arguments":"\"<b>\"}"}}]}`),
		harness.EndOf("tool_calls"),
	)
}

func result(id, content string) string {
	return `{"role":"tool","tool_call_id":` + harness.Quote(id) + `,"content":` + harness.Quote(content) + `}`
}

// shownTools is a message in the history, with its tool calls.
type shownTools struct {
	Role       string          `json:"role"`
	Content    *string         `json:"content"`
	ToolCalls  json.RawMessage `json:"toolCalls"`
	ToolCallID *string         `json:"toolCallId"`
	Status     string          `json:"status"`
}

func toolHistory(c *harness.Client, session string) []shownTools {
	c.T.Helper()
	var h struct {
		Data struct{ Messages []shownTools }
	}
	c.Call(http.MethodGet, "/chat/"+session+"/history", nil, &h)
	return h.Data.Messages
}

func TestStatefulTools(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	for name, site := range map[string]string{"gateway": up.Sessions(""), "proxy": up.Proxied("")} {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, harness.PlainTenants, site)
			ann := harness.NewClient(c, "acme", "ann")
			for _, more := range []string{"", harness.Streamed} {
				t.Run("are remembered"+more, func(t *testing.T) {
					session := harness.NewSession()
					a := ann.Remember(session, harness.UserSays("look around", tools, more))
					makeCalls(up.Call(), "")
					if got := a.Whole(); got.Finish != "tool_calls" || len(got.Calls) != 2 || got.Calls[0].Arguments != `{"at":"<b>"}` {
						t.Fatalf("the client got %v", got.Frames)
					}

					a = ann.Remember(session, harness.MessagesBody(result("call_a", "a bear")+","+result("call_b", "gone"), tools, more))
					call := up.Call()
					harness.WantList(t, "with the results", call.Said(), []string{"user: look around", "assistant:  +call_a +call_b", "tool: a bear -call_a", "tool: gone -call_b"})
					replayed := gjson.Parse(call.Messages()[1])
					if replayed.Get("tool_calls").Raw != "["+callA+","+callB+"]" || replayed.Get("content").Type != gjson.Null {
						t.Errorf("replayed as %s", replayed.Raw)
					}
					call.Answer("a bear, gone")
					a.Whole()

					a = ann.Remember(session, harness.UserSays("thanks", more))
					call = up.Call()
					harness.WantList(t, "later", call.Said(), []string{
						"user: look around", "assistant:  +call_a +call_b", "tool: a bear -call_a", "tool: gone -call_b", "assistant: a bear, gone", "user: thanks",
					})
					call.Answer("any time")
					a.Whole()

					msgs := toolHistory(ann, session)
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

			t.Run("calls without results are not sent", func(t *testing.T) {
				session := harness.NewSession()
				a := ann.Remember(session, harness.UserSays("look", tools))
				makeCalls(up.Call(), "wait")
				a.Whole()
				a = ann.Remember(session, harness.UserSays("never mind"))
				call := up.Call()
				harness.WantList(t, "prompt", call.Said(), []string{"user: look", "assistant: wait", "user: never mind"})
				call.Answer("fine")
				a.Whole()
				if msgs := toolHistory(ann, session); len(msgs) != 4 || !jsonEqual(msgs[1].ToolCalls, "["+callA+","+callB+"]") {
					t.Errorf("shown as %+v", msgs)
				}
			})

			t.Run("calls of a cancelled turn are not sent", func(t *testing.T) {
				session := harness.NewSession()
				a := ann.Remember(session, harness.UserSays("look", tools, harness.Streamed))
				call := up.Call()
				call.Event(harness.ChunkOf(`{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"look","arguments":"{\"at\""}}]}`))
				a.Answer()
				harness.Eventually(t, "the turn is running", func() bool { return ann.CancelTurn(session) })
				call.WantGone()
				harness.Eventually(t, "the session is free", func() bool {
					a = ann.Remember(session, harness.UserSays("again"))
					select {
					case call = <-up.Calls:
						return true
					case resp := <-a.Resp:
						harness.WantFailure(t, resp, 409, "session_busy")
						return false
					}
				})
				harness.WantList(t, "prompt", call.Said(), []string{"user: look", "user: again"})
				call.Answer("fine")
				a.Whole()
				msgs := toolHistory(ann, session)
				if len(msgs) != 4 || msgs[1].Status != "partial" || gjson.GetBytes(msgs[1].ToolCalls, "0.function.arguments").Str != `{"at"` {
					t.Errorf("shown as %+v", msgs)
				}
			})
		})
	}
}

// TestStatefulRepeats has clients that send messages again: unanswered ones, or
// the whole conversation every time.
func TestStatefulRepeats(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Proxied(""))
	ann := harness.NewClient(c, "acme", "ann")

	t.Run("an unanswered question", func(t *testing.T) {
		session := harness.NewSession()
		for range 2 {
			a := ann.Remember(session, harness.UserSays("try"))
			call := up.Call()
			harness.WantList(t, "prompt", call.Said(), []string{"user: try"})
			call.Fail(503, `{"error":{"message":"overloaded"}}`)
			a.Answer().Body.Close()
		}
		harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: try"})
		up.Turn(ann, session, harness.UserSays("try"), "done")
		a := ann.Remember(session, harness.UserSays("try"))
		call := up.Call()
		harness.WantList(t, "after its answer", call.Said(), []string{"user: try", "assistant: done", "user: try"})
		call.Answer("again")
		a.Whole()
	})

	t.Run("unanswered results", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Remember(session, harness.UserSays("look", tools))
		makeCalls(up.Call(), "")
		a.Whole()
		results := harness.MessagesBody(result("call_a", "1") + "," + result("call_b", "2"))
		want := []string{"user: look", "assistant:  +call_a +call_b", "tool: 1 -call_a", "tool: 2 -call_b"}
		a = ann.Remember(session, results)
		call := up.Call()
		harness.WantList(t, "prompt", call.Said(), want)
		call.Fail(500, `{}`)
		a.Answer().Body.Close()
		a = ann.Remember(session, results)
		call = up.Call()
		harness.WantList(t, "prompt", call.Said(), want)
		call.Answer("done")
		a.Whole()
		if n := len(ann.History(session)); n != 5 {
			t.Errorf("%d messages", n)
		}
	})

	t.Run("the whole conversation", func(t *testing.T) {
		session := harness.NewSession()
		var all []string
		for i, q := range []string{"one", "two", "three"} {
			all = append(all, `{"role":"user","content":`+harness.Quote(q)+`}`)
			a := ann.Remember(session, harness.MessagesBody(strings.Join(append([]string{`{"role":"system","content":"Be brief."}`}, all...), ","), tools))
			call := up.Call()
			if got := call.Messages(); len(got) != len(all)+1 {
				t.Errorf("the model gets %v", call.Said())
			}
			if i == 1 {
				makeCalls(call, "")
				a.Whole()
				all = append(all, `{"role":"assistant","content":null,"refusal":null,"tool_calls":[`+callA+`,`+callB+`]}`, result("call_a", "1"), result("call_b", "2"))
				a = ann.Remember(session, harness.MessagesBody(strings.Join(all, ",")))
				call = up.Call()
				if got := call.Messages(); len(got) != len(all) {
					t.Errorf("the model gets %v", call.Said())
				}
			}
			call.Answer("to " + q)
			a.Whole()
			all = append(all, `{"role":"assistant","content":`+harness.Quote("to "+q)+`,"refusal":null,"annotations":[]}`)
		}
		harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{
			"user: one", "assistant: to one", "user: two", "assistant: ", "tool: 1", "tool: 2", "assistant: to two", "user: three", "assistant: to three",
		})
	})
}

// TestStatefulRespelled has clients that send the whole conversation every time, but
// not in the same words: the mark for the cache moves, a text becomes a part, and
// arguments are written anew.
func TestStatefulRespelled(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Sessions("max_messages 6"))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	a := ann.Remember(session, harness.UserSays("look", tools))
	makeCalls(up.Call(), "")
	a.Whole()

	all := []string{
		`{"content":[{"text":"look","type":"text","cache_control":{"type":"ephemeral"}}],"role":"user"}`,
		`{"role":"assistant","content":"","tool_calls":[{"function":{"name":"look","arguments":"{ \"at\": \"<b>\" }"},"id":"call_a","type":"function"},` + callB + `]}`,
		`{"role":"tool","tool_call_id":"call_a","content":[{"type":"text","text":"1"}]}`,
		`{"role":"tool","tool_call_id":"call_b","content":"2","cache_control":{"type":"ephemeral"}}`,
	}
	for i, q := range []string{"one", "two", "three", "four"} {
		a = ann.Remember(session, harness.MessagesBody(strings.Join(all, ","), tools))
		call := up.Call()
		if got := call.Messages(); strings.Join(got, ",") != strings.Join(all, ",") {
			t.Errorf("%s: the model gets %v, want what was sent", q, call.Said())
		}
		call.Answer("to " + q)
		a.Whole()
		all = append(all, `{"role":"assistant","content":[{"type":"text","text":`+harness.Quote("to "+q)+`}]}`, `{"name":null,"role":"user","content":`+harness.Quote(fmt.Sprint(i))+`}`)
	}
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{
		"user: 0", "assistant: to two", "user: 1", "assistant: to three", "user: 2", "assistant: to four",
	})
}

// TestStatefulLimits checks that context limits never separate a call from its
// result.
func TestStatefulLimits(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Proxied("context_messages 3\n\t\tmax_messages 5"))
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	a := ann.Remember(session, harness.UserSays("look", tools))
	makeCalls(up.Call(), "")
	a.Whole()
	a = ann.Remember(session, harness.MessagesBody(result("call_a", "1")+","+result("call_b", "2")))
	call := up.Call()
	harness.WantList(t, "the calls whose results are sent", call.Said(), []string{"user: look", "assistant:  +call_a +call_b", "tool: 1 -call_a", "tool: 2 -call_b"})
	call.Answer("both")
	a.Whole()

	a = ann.Remember(session, harness.UserSays("go on"))
	call = up.Call()
	harness.WantList(t, "the context does not begin with a result", call.Said(), []string{"assistant: both", "user: go on"})
	call.Answer("on")
	a.Whole()
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"tool: 1", "tool: 2", "assistant: both", "user: go on", "assistant: on"})

	t.Run("more messages than max_messages", func(t *testing.T) {
		session := harness.NewSession()
		many := strings.Repeat(`{"role":"user","content":"x"},`, 2000) + `{"role":"user","content":"last"}`
		a := ann.Remember(session, harness.MessagesBody(many))
		call := up.Call()
		if n := len(call.Messages()); n != 2001 {
			t.Errorf("the model gets %d messages", n)
		}
		call.Answer("ok")
		a.Whole()
		harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: x", "user: x", "user: x", "user: last", "assistant: ok"})
	})
}

// TestStatefulParts checks that images and other parts are replayed unchanged.
func TestStatefulParts(t *testing.T) {
	t.Parallel()
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Proxied(""))
	ann := harness.NewClient(c, "acme", "ann")
	picture := func(size int) string {
		return `{"role":"user","content":[{"type":"text","text":"what is <this>?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,` + strings.Repeat("A", size) + `"}}]}`
	}

	t.Run("a large picture", func(t *testing.T) {
		session := harness.NewSession()
		a := ann.Remember(session, harness.MessagesBody(picture(1<<20)))
		up.Call().Answer("a bear")
		a.Whole()
		a = ann.Remember(session, harness.UserSays("which one?"))
		call := up.Call()
		if got := call.Messages(); len(got) != 3 || got[0] != picture(1<<20) {
			t.Errorf("the model gets %d messages", len(got))
		}
		call.Answer("brown")
		a.Whole()
		b := ann.Ask(session, "and under /chat?")
		call = up.Call()
		if got := call.Messages(); len(got) != 5 || got[0] != picture(1<<20) {
			t.Errorf("under /chat the model gets %d messages", len(got))
		}
		call.Answer("too")
		b.Events().Rest()
		msgs := ann.History(session)
		if msgs[0].Content != "what is <this>?" || msgs[0].TokenCount < 1000 || msgs[0].TokenCount > 1100 {
			t.Errorf("shown as %+v", msgs[0])
		}
		if l := ann.List("").Data.Sessions[0]; l.Title != "what is <this>?" {
			t.Errorf("the title is %q", l.Title)
		}
	})

	t.Run("as many pictures as fit in a request", func(t *testing.T) {
		session := harness.NewSession()
		for range 3 {
			a := ann.Remember(session, harness.MessagesBody(picture(4<<20)))
			call := up.Call()
			if len(call.Body) > 10<<20 {
				t.Errorf("the request has %d bytes", len(call.Body))
			}
			call.Answer("yes")
			a.Whole()
		}
		a := ann.Remember(session, harness.UserSays("all of them?"))
		call := up.Call()
		if n := strings.Count(call.Body, "image_url\","); n != 2 || len(call.Body) > 10<<20 {
			t.Errorf("%d pictures in %d bytes", n, len(call.Body))
		}
		call.Answer("two")
		a.Whole()
		if n := len(ann.History(session)); n != 8 {
			t.Errorf("%d messages", n)
		}
	})

	t.Run("the largest message", func(t *testing.T) {
		session := harness.NewSession()
		text := strings.Repeat("<", 10<<20-200)
		a := ann.Remember(session, harness.MessagesBody(`{"role":"user","content":"`+text+`"}`))
		call := up.Call()
		call.Answer("ok")
		a.Whole()
		msgs := ann.History(session)
		if len(msgs) != 2 || msgs[0].Content != text {
			t.Errorf("%d messages", len(msgs))
		}
	})
}

// jsonEqual compares JSON, ignoring white space and escapes.
func jsonEqual(a []byte, b string) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	one, _ := json.Marshal(x)
	two, _ := json.Marshal(y)
	return string(one) == string(two)
}
