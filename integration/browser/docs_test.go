package browser

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

var scripts = regexp.MustCompile("(?ms)^```js\n(.*?)^```$")

// TestResumingPage runs the scripts of docs/resuming.md.
func TestResumingPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/resuming.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := scripts.FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 3 {
		t.Fatalf("%d scripts", len(blocks))
	}
	chromium := startChromium(t)
	up := harness.NewUpstream(t)
	c := harness.Start(t, "", up.Chain("keep_alive 1s")+`
		header /page Content-Type text/html
		respond /page "<!doctype html><title>page</title>"`)
	r := newRelay(t, c)
	visit := func(t *testing.T) *tab {
		p := newTab(t, chromium)
		p.do(chromedp.Navigate(r.url() + "/page"))
		evaluate[bool](p, fmt.Sprintf(`(() => {
			const script = document.createElement("script");
			script.textContent = %q;
			document.head.append(script);
			window.text = window.turn = window.end = "";
			window.show = (turn, text) => {
				if (turn !== window.turn) window.text = "";
				window.turn = turn;
				window.text += text;
			};
			return true;
		})()`, blocks[0][1]+blocks[1][1]+blocks[2][1]))
		return p
	}
	shows := func(p *tab, text, end string) {
		p.t.Helper()
		p.waitFor(fmt.Sprintf("window.text === %q && window.end === %q", text, end))
	}

	t.Run("fetch", func(t *testing.T) {
		p := visit(t)
		before, session := up.Count(), harness.NewSession()
		evaluate[bool](p, fmt.Sprintf(`ask(%q, "question", show, 2500).then((end) => window.end = end), true`, session))
		call := up.Call()
		call.Say("one ")
		shows(p, "one ", "")
		r.sever()
		call.Say("two ")
		shows(p, "one two ", "")
		r.lose(everything)
		call.Say("three ")
		r.recover()
		shows(p, "one two three ", "")
		r.sever()
		call.Say("four")
		call.Finish("stop")
		shows(p, "one two three four", "stop")
		if n := up.Count() - before; n != 1 {
			t.Errorf("%d upstream calls", n)
		}
	})

	t.Run("fetch under v1", func(t *testing.T) {
		p := visit(t)
		before := up.Count()
		evaluate[bool](p, `complete({ messages: [{ role: "user", content: "question" }] },
			(chunk) => window.text += chunk.choices?.[0]?.delta.content ?? "", 2500).then((end) => window.end = end), true`)
		call := up.Call()
		call.Say("one ")
		shows(p, "one ", "")
		r.sever()
		call.Say("two ")
		shows(p, "one two ", "")
		r.lose(everything)
		call.Say("three")
		r.recover()
		shows(p, "one two three", "")
		r.sever()
		call.Finish("stop")
		shows(p, "one two three", "done")
		if n := up.Count() - before; n != 1 {
			t.Errorf("%d upstream calls", n)
		}
	})

	t.Run("EventSource", func(t *testing.T) {
		p := visit(t)
		cl, session := harness.NewClient(c, "", ""), harness.NewSession()
		a := cl.Ask(session, "question")
		call := up.Call()
		call.Say("one ", "two ")
		first := a.Events().Text("one two ")[0]
		evaluate[bool](p, fmt.Sprintf(`follow(%q, %q, show, (end) => window.end = end), true`, session, first.ID))
		shows(p, "two ", "")
		r.sever()
		call.Say("three")
		shows(p, "two three", "")
		call.Finish("stop")
		shows(p, "two three", "stop")
		if strings.Contains(p.console.String(), "exception:") {
			t.Error(p.console)
		}
	})
}
