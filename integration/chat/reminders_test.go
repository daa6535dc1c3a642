package chat

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestReminders has a client of Messages send system messages behind those of the user, as
// Claude Code does: they belong to the conversation.
func TestReminders(t *testing.T) {
	const (
		one, two, three = `{"role":"user","content":"one"}`, `{"role":"user","content":"two"}`, `{"role":"user","content":"three"}`
		reminder        = `{"role":"system","content":"be kind"}`
		marked          = `{"role":"system","content":[{"type":"text","text":"be kind","cache_control":{"type":"ephemeral"}}]}`
		another         = `{"role":"system","content":"be brief"}`
		says            = `{"role":"assistant","content":[{"type":"text","text":"so"}]}`
	)
	up, other := harness.NewUpstream(t), harness.NewTarget(t, "other")
	c := harness.Start(t, harness.PlainTenants, withOther(messagesSite(up), other.URL))
	cl := harness.NewClient(c, "acme", "ann")
	up.Plays(harness.Messages("end_turn", `[{"type":"text","text":"so"}]`))
	other.Plays(harness.Says(9, 7, "so"))
	start := func(t *testing.T, model string) (session string, ask func(sent string)) {
		session = harness.NewSession()
		return session, func(sent string) {
			t.Helper()
			resp := cl.Do(http.MethodPost, "/v1/messages", fmt.Sprintf(`{"model":%q,"max_tokens":100,"system":"top","messages":[%s]}`, model, sent), "X-Session-Id", session)
			if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
				t.Fatalf("%d %s", resp.StatusCode, got)
			}
		}
	}
	want := func(t *testing.T, up *harness.Upstream, want string) {
		t.Helper()
		if got := gjson.Get(up.Last().Body, "messages").Raw; got != "["+want+"]" {
			t.Errorf("the server is asked\n%s\nwant\n%s", got, want)
		}
	}

	t.Run("only_what_is_new", func(t *testing.T) {
		_, ask := start(t, "fast")
		ask(one + "," + marked)
		ask(two + "," + another)
		want(t, up, one+","+marked+","+says+","+two+","+another)
		ask(three)
		want(t, up, one+","+marked+","+says+","+two+","+another+","+says+","+three)
	})
	t.Run("in_chat_completions", func(t *testing.T) {
		const top, said = `{"role":"system","content":"top"}`, `{"role":"assistant","content":"so"}`
		_, ask := start(t, "other")
		ask(one + "," + reminder)
		ask(two)
		want(t, other, top+","+one+","+reminder+","+said+","+two)
	})
	t.Run("sent_as_a_whole", func(t *testing.T) {
		session, ask := start(t, "fast")
		for _, sent := range []string{
			one + "," + marked,
			one + "," + reminder + "," + says + "," + two + "," + another,
			one + "," + reminder + "," + says + "," + two + "," + another + "," + says + "," + three,
			one + "," + says + "," + two + "," + says + "," + three + "," + says + "," + one + "," + reminder,
		} {
			ask(sent)
			want(t, up, sent)
		}
		if n := len(cl.History(session)); n != 8 {
			t.Errorf("the session has %d messages", n)
		}
		ask(two)
		want(t, up, one+","+marked+","+says+","+two+","+another+","+says+","+three+","+says+","+one+","+reminder+","+says+","+two)
	})
	t.Run("one_in_front_is_for_one_request", func(t *testing.T) {
		_, ask := start(t, "fast")
		ask(reminder + "," + one)
		ask(two)
		want(t, up, one+","+says+","+two)
	})
	t.Run("in_the_other_APIs", func(t *testing.T) {
		session, ask := start(t, "fast")
		ask(one + "," + reminder)
		harness.ReadAll(t, cl.Do(http.MethodPost, harness.CompletionsPath, `{"model":"other","messages":[`+two+`]}`, "X-Session-Id", session))
		const said = `{"role":"assistant","content":"so"}`
		want(t, other, one+","+reminder+","+said+","+two)
		harness.ReadAll(t, cl.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: "three", ModelID: "other"}))
		want(t, other, one+","+reminder+","+said+","+two+","+said+","+three)
	})
}
