package tenants

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestIsolation has two tenants with users of the same names talk at once, in
// sessions with the same ids. Every message names its owner.
func TestIsolation(t *testing.T) {
	const tenants = `
	chat {
		tenant acme {
			api_key acme-key
			credential openai acme-upstream-key
			system "mark acme"
			metadata plan acme-plan
		}
		tenant globex {
			credential openai globex-upstream-key
			system "mark globex"
			metadata plan globex-plan
		}
	}
`
	const limit = 100000
	up := harness.NewUpstream(t)
	c := harness.Start(t, tenants, `
	header >X-Seen "{chat.tenant.id} {chat.user.id} {chat.session.id} {chat.tenant.metadata.plan} {http.request.header.X-Tenant-Id} {http.request.header.X-User-Id}"
`+up.Chain(""))

	up.Plays(harness.Replies(func(call harness.Asked) string {
		texts := call.Said()
		tenant := strings.TrimPrefix(texts[0], "system: mark ")
		if got := call.Header.Get("Authorization"); got != "Bearer "+tenant+"-upstream-key" {
			t.Errorf("%s's prompt came with the key %q", tenant, got)
		}
		// <tenant>/<user>/<session> <n>
		mark, _, _ := strings.Cut(call.Question(), " ")
		for _, text := range texts[1:] {
			if !strings.Contains(text, mark+" ") || !strings.HasPrefix(mark, tenant+"/") {
				t.Errorf("the prompt of %s contains %q", mark, text)
			}
		}
		return "re: " + call.Question()
	}))

	sessions := []string{harness.NewSession(), harness.NewSession()}
	var wg sync.WaitGroup
	for _, tenant := range []string{"acme", "globex"} {
		for _, user := range []string{"ann", "bob", "carl"} {
			p := &probe{Client: harness.NewClient(c, tenant, user), left: limit, sessions: sessions}
			if tenant == "acme" {
				p.Key = "acme-key"
			}
			wg.Go(p.talk)
		}
	}
	wg.Wait()
}

// probe is a user who looks for traces of others.
type probe struct {
	*harness.Client
	left     int // of the rate limit
	sessions []string
}

const rounds = 15

func (p *probe) mark(session string) string {
	return p.Tenant + "/" + p.User + "/" + session[:8]
}

func (p *probe) talk() {
	for n := range rounds {
		for _, session := range p.sessions {
			p.round(session, n)
		}
	}
}

// seen checks that the headers of an answer belong to this user only.
func (p *probe) seen(resp *http.Response, session string) {
	p.T.Helper()
	p.left--
	want := strings.Join([]string{p.Tenant, p.User, session, p.Tenant + "-plan", p.Tenant, p.User}, " ")
	harness.WantHeader(p.T, resp.Header, map[string]string{
		"X-Tenant-Id":           p.Tenant,
		"X-Seen":                want,
		"X-RateLimit-Remaining": strconv.Itoa(p.left),
	})
}

func (p *probe) round(session string, n int) {
	mark := p.mark(session)
	question := fmt.Sprintf("%s %d", mark, n)
	trace := strings.ReplaceAll(mark, "/", ".") + strconv.Itoa(n)

	resp := p.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: session, Message: question}, "X-Trace-Id", trace)
	p.seen(resp, session)
	answer := harness.ReadEvents(p.T, resp).Rest()
	if answer.Text != "re: "+question || answer.Done == nil {
		p.T.Errorf("%s asked %q and got %q", mark, question, answer.Text)
	}
	for _, ev := range answer.Events[:len(answer.Events)-1] {
		if ev.TenantID != p.Tenant || ev.SessionID != session || ev.TraceID != trace {
			p.T.Errorf("%s got the event %s", mark, ev.Data)
		}
	}

	resp = p.Do(http.MethodGet, "/chat/"+session+"/stream", nil)
	p.seen(resp, session)
	if again := harness.ReadEvents(p.T, resp).Rest(); again.Text != answer.Text {
		p.T.Errorf("%s followed %q and got %q", mark, answer.Text, again.Text)
	}

	resp = p.Do(http.MethodGet, "/chat/"+session+"/history?limit=1000", nil)
	p.seen(resp, session)
	var h harness.HistoryAnswer
	harness.Decode(p.T, resp, &h)
	if len(h.Data.Messages) != 2*(n+1) {
		p.T.Errorf("%s has %d messages after %d rounds", mark, len(h.Data.Messages), n+1)
	}
	for _, m := range h.Data.Messages {
		if !strings.Contains(m.Content, mark+" ") {
			p.T.Errorf("%s sees the message %q", mark, m.Content)
		}
	}

	resp = p.Do(http.MethodGet, "/chat", nil)
	p.seen(resp, "")
	var l harness.SessionList
	harness.Decode(p.T, resp, &l)
	for _, s := range l.Data.Sessions {
		if !strings.HasPrefix(s.Title, p.mark(s.SessionID)+" ") {
			p.T.Errorf("%s sees the title %q", mark, s.Title)
		}
	}
}
