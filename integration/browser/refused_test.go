package browser

import (
	"net/http"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestRefused checks what becomes of messages that were not answered.
func TestRefused(t *testing.T) {
	s := startSite(t)

	t.Run("a_busy_chat", func(t *testing.T) {
		p := s.visit(t)
		p.say("first")
		s.up.Call().Answer("answer")
		p.waitForMessages("complete", "user: first", "assistant: answer")

		// another device of the same user
		cl, session := s.client(p)
		a := cl.Ask(session, "elsewhere")
		call := s.up.Call()
		p.say("refused")
		p.waitForNotice("The last answer in this chat is still being written")
		p.waitForComposer("refused")
		p.waitForMessages("complete", "user: first", "assistant: answer")

		p.do(reloads)
		p.waitForComposer("refused")
		p.waitForMessages("streaming", "user: first", "assistant: answer", "user: elsewhere", "assistant: ")
		call.Answer("and back")
		a.Events().Rest()
		p.waitForMessages("complete", "user: first", "assistant: answer", "user: elsewhere", "assistant: and back")
		p.click("send")
		s.up.Call().Answer("now")
		p.waitForMessages("complete", "user: first", "assistant: answer", "user: elsewhere", "assistant: and back", "user: refused", "assistant: now")
		p.waitForComposer("")
	})

	t.Run("a_message_keeps_its_key_until_it_changes", func(t *testing.T) {
		p := s.visit(t)
		evaluate[bool](p, countRequests)
		cl, session := s.client(p)
		a := cl.Ask(session, "elsewhere")
		call := s.up.Call()
		busy := "The last answer in this chat is still being written"
		p.say("refused")
		p.waitForNotice(busy)
		p.click("retry")
		p.waitFor(`window.requests.filter((r) => r.method === "POST").length === 2`)
		p.waitForNotice(busy)
		p.write(" and changed")
		p.click("send")
		p.waitFor(`window.requests.filter((r) => r.method === "POST").length === 3`)
		p.waitForNotice(busy)
		p.waitForComposer("refused and changed")
		keys := evaluate[[]string](p, `window.requests.filter((r) => r.method === "POST").map((r) => r.headers["Idempotency-Key"])`)
		if keys[0] != keys[1] || keys[1] == keys[2] {
			t.Errorf("got %q", keys)
		}
		call.Answer("done")
		a.Events().Rest()
	})

	t.Run("a_message_that_the_provider_refuses", func(t *testing.T) {
		p := s.visit(t)
		p.say("forbidden")
		s.up.Call().Fail(http.StatusBadRequest, `{"error":{"message":"no","code":"content_filter"}}`)
		p.waitForNotice("refused this message because of its content")
		p.waitForComposer("forbidden")
		p.waitForMessageCount(0)
	})

	t.Run("what_is_typed_stays_over_a_reload", func(t *testing.T) {
		p := s.visit(t)
		p.write("not yet sent")
		p.reload()
		p.waitForComposer("not yet sent")
		p.choose("tenant", "globex")
		p.waitForComposer("")
		p.choose("tenant", "acme")
		p.waitForComposer("not yet sent")
		p.click("new-chat")
		p.waitForComposer("not yet sent")
	})

	t.Run("a_reload_before_the_answer_begins", func(t *testing.T) {
		p := s.visit(t)
		p.say("question")
		call := s.up.Call()
		p.do(reloads)
		p.waitForMessages("streaming", "user: question", "assistant: ")
		p.waitForComposer("")
		call.Answer("answer")
		p.waitForMessages("complete", "user: question", "assistant: answer")
	})

	for name, fail := range map[string]func(*tab, *harness.HeldCall){
		"a_failed_answer_is_replaced": func(p *tab, call *harness.HeldCall) {
			call.Cut()
			p.waitForNotice("The model could not answer.")
		},
		"a_stopped_answer_is_replaced": func(p *tab, call *harness.HeldCall) {
			p.click("stop")
			call.WantGone()
			p.waitForNotice("The answer was stopped.")
		},
		"an_answer_that_failed_before_a_reload_is_replaced": func(p *tab, call *harness.HeldCall) {
			call.Cut()
			p.waitForNotice("The model could not answer.")
			p.reload()
			p.waitForNotice("The last answer is incomplete.")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.visit(t)
			p.say("before")
			s.up.Call().Answer("fine")
			p.waitForMessages("complete", "user: before", "assistant: fine")
			p.say("question")
			call := s.up.Call()
			call.Say("half")
			p.waitForMessages("streaming", "user: before", "assistant: fine", "user: question", "assistant: half")
			fail(p, call)

			p.click("retry")
			call = s.up.Call()
			context := []string{"system: You are Acme's assistant.", "user: before", "assistant: fine", "user: question"}
			harness.WantList(t, "what the model gets", call.Said(), context)
			call.Fail(http.StatusBadGateway, "{}")
			p.waitForNotice("The model could not answer.")
			p.waitForMessages(p.lastState(), "user: before", "assistant: fine", "user: question", "assistant: half")

			p.click("retry")
			call = s.up.Call()
			harness.WantList(t, "what the model gets", call.Said(), context)
			call.Answer("whole")
			p.waitForMessages("complete", "user: before", "assistant: fine", "user: question", "assistant: whole")
			cl, session := s.client(p)
			p.wantStored(cl, session, "user: before", "assistant: fine", "user: question", "assistant: whole")
		})
	}

	t.Run("a_failure_without_text_is_replaced", func(t *testing.T) {
		p := s.visit(t)
		p.say("question")
		s.up.Call().Fail(http.StatusBadGateway, "{}")
		p.waitForNotice("The model could not answer.")
		p.click("retry")
		call := s.up.Call()
		harness.WantList(t, "what the model gets", call.Said(), []string{"system: You are Acme's assistant.", "user: question"})
		call.Answer("whole")
		p.waitForMessages("complete", "user: question", "assistant: whole")
	})
}

func TestTabs(t *testing.T) {
	s := startSite(t)
	visitor := newTab(t, s.chromium)
	first, second := visitor.another(), visitor.another()
	first.open(s.Caddy)
	second.open(s.Caddy)
	second.write("typed meanwhile")

	first.say("question")
	call := s.up.Call()
	for _, p := range []*tab{first, second} {
		p.waitForMessages("streaming", "user: question", "assistant: ")
	}
	call.Say("one ")
	for _, p := range []*tab{first, second} {
		p.waitForMessages("streaming", "user: question", "assistant: one ")
	}
	first.close() // the one that asked
	call.Say("two")
	call.Finish("stop")
	second.waitForMessages("complete", "user: question", "assistant: one two")
	second.waitForSessions("question")
	second.waitForComposer("typed meanwhile")

	third := visitor.another()
	third.open(s.Caddy)
	third.waitForMessages("complete", "user: question", "assistant: one two")
	second.click("send")
	call = s.up.Call()
	call.Say("half")
	for _, p := range []*tab{second, third} {
		p.waitForMessages("streaming", "user: question", "assistant: one two", "user: typed meanwhile", "assistant: half")
	}
	third.click("stop")
	call.WantGone()
	for _, p := range []*tab{second, third} {
		p.waitForMessages("partial", "user: question", "assistant: one two", "user: typed meanwhile", "assistant: half")
	}

	second.click("retry")
	s.up.Call().Answer("whole")
	for _, p := range []*tab{second, third} {
		p.waitForMessages("complete", "user: question", "assistant: one two", "user: typed meanwhile", "assistant: whole")
	}
	if n := s.up.Count(); n != 3 {
		t.Errorf("%d upstream calls", n)
	}

	// another tenant's page hears of nothing
	other := visitor.another()
	other.open(s.Caddy)
	other.choose("tenant", "globex")
	other.waitForMessageCount(0)
	third.waitForSessions("question")
	third.deleteFirst()
	second.waitForMessageCount(0)
	other.waitForMessageCount(0)
}
