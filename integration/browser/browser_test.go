package browser

import (
	"bytes"
	"fmt"
	"image/png"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// watch makes a page record every text that its last message shows.
const watch = `
	window.seen = [];
	new MutationObserver(() => {
		const text = [...document.querySelectorAll('[data-testid="message"]')].at(-1)?.querySelector(".text").textContent;
		if (text && window.seen.at(-1) !== text) window.seen.push(text);
	}).observe(document.querySelector('[data-testid="messages"]'), { childList: true, characterData: true, subtree: true });
	true`

// shown is a message on the page.
type shown struct{ Role, State, Text string }

func (p *tab) messages() []shown {
	p.t.Helper()
	return evaluate[[]shown](p, `[...document.querySelectorAll('[data-testid="message"]')].map((m) =>
		({ Role: m.dataset.role, State: m.dataset.state, Text: m.querySelector(".text").textContent }))`)
}

// waitForAnswer waits until the last message is in a state.
func (p *tab) waitForAnswer(state string) shown {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`[...document.querySelectorAll('[data-testid="message"]')].at(-1)?.dataset.state === %q &&
		[...document.querySelectorAll('[data-testid="message"]')].at(-1)?.dataset.role === "assistant"`, state))
	all := p.messages()
	return all[len(all)-1]
}

func (p *tab) waitForNotice(text string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`!document.querySelector('[data-testid="notice"]').hidden &&
		document.querySelector('[data-testid="notice"]').textContent.includes(%q)`, text))
}

func (p *tab) waitForSessions(titles ...string) {
	p.t.Helper()
	want := strings.Join(titles, "|")
	p.waitFor(fmt.Sprintf(`[...document.querySelectorAll('[data-testid="sessions"] .name')].map((n) => n.textContent).join("|") === %q`, want))
}

// longText takes the echo provider more than two minutes to say.
var longText = strings.TrimSpace(strings.Repeat("a ", 4900))

func TestBrowser(t *testing.T) {
	chromium := startChromium(t)
	c := harness.StartExample(t, "quickstart", "requests 30 1m", "requests 2 1h")
	visit := func(t *testing.T) *tab {
		p := newTab(t, chromium)
		p.open(c)
		return p
	}

	t.Run("an_answer_arrives_word_by_word_and_can_be_stopped", func(t *testing.T) { browseStream(t, visit(t)) })
	t.Run("a_reload_keeps_the_chat", func(t *testing.T) { browseReload(t, visit(t)) })
	t.Run("a_reload_resumes_a_running_answer", func(t *testing.T) { browseResume(t, visit(t)) })
	t.Run("another_tenant_does_not_see_the_chat", func(t *testing.T) { browseTenants(t, visit(t)) })
	t.Run("a_limit_shows_a_notice", func(t *testing.T) { browseLimit(t, visit(t)) })
	t.Run("a_phone_scrolls_in_one_direction", func(t *testing.T) { browsePhone(t, visit(t)) })
	t.Run("light_and_dark_are_readable", func(t *testing.T) { browseColours(t, visit(t)) })
	t.Run("the_picture_of_the_readme", func(t *testing.T) { browsePicture(t, visit(t)) })
	t.Run("an_unreachable_server_can_be_retried", func(t *testing.T) { browseOutage(t, visit(t), c) })
}

// open loads the page.
func (p *tab) open(c *harness.Caddy) {
	p.t.Helper()
	p.do(chromedp.Navigate(c.URL))
	p.waitUntilReady()
}

func (p *tab) reload() {
	p.t.Helper()
	p.do(chromedp.Reload())
	p.waitUntilReady()
}

// waitUntilReady waits until the page accepts messages.
func (p *tab) waitUntilReady() {
	p.t.Helper()
	p.waitFor(`document.activeElement?.dataset.testid === "composer"`)
	evaluate[bool](p, watch)
}

func browseStream(t testing.TB, p *tab) {
	p.say(longText)
	p.waitFor("window.seen.filter((text) => text.startsWith('a')).length > 4")
	if a := p.waitForAnswer("streaming"); !strings.HasPrefix(longText, a.Text) {
		t.Errorf("shown so far: %q", a.Text)
	}
	p.click("stop")
	a := p.waitForAnswer("partial")
	if a.Text == "" || !strings.HasPrefix(longText, a.Text) || a.Text == longText {
		t.Errorf("a stopped answer of %d characters", len(a.Text))
	}
	p.waitForNotice("The answer was stopped.")

	// each text on the way continues the one before it
	seen := evaluate[[]string](p, "window.seen")
	for i, text := range seen[2:] {
		if before := seen[i+1]; !strings.HasPrefix(text, before) {
			t.Fatalf("%q came after %q", text, before)
		}
	}

	p.click("retry")
	p.waitForAnswer("streaming")
	p.waitFor(`[...document.querySelectorAll('[data-testid="message"]')].at(-1).querySelector(".text").textContent !== ""`)
	p.click("stop")
	p.waitForAnswer("partial")
	if m := p.messages(); len(m) != 2 {
		t.Errorf("a retry leaves %d messages", len(m))
	}
}

func browseReload(t testing.TB, p *tab) {
	p.say("first things first")
	p.waitForAnswer("complete")
	p.waitForSessions("first things first")
	if left := evaluate[string](p, `document.querySelector('[data-testid="composer"]').value`); left != "" {
		t.Errorf("the composer still contains %q", left)
	}
	before := p.messages()
	want := []shown{{"user", "complete", "first things first"}, {"assistant", "complete", "first things first"}}
	if fmt.Sprint(before) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", before, want)
	}
	p.reload()
	p.waitFor(`document.querySelectorAll('[data-testid="message"]').length === 2`)
	if after := p.messages(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("%q after a reload, %q before", after, before)
	}
	p.waitForSessions("first things first")

	p.click("new-chat")
	p.waitFor(`document.querySelectorAll('[data-testid="message"]').length === 0`)
	p.say("and then this")
	p.waitForAnswer("complete")
	p.waitForSessions("and then this", "first things first")
}

func browseResume(t testing.TB, p *tab) {
	p.say(longText)
	p.waitFor("window.seen.filter((text) => text.startsWith('a')).length > 2")
	p.reload()
	a := p.waitForAnswer("streaming")
	p.waitFor(fmt.Sprintf(`[...document.querySelectorAll('[data-testid="message"]')].at(-1).textContent.length > %d`, len(a.Text)+10))
	if a := p.waitForAnswer("streaming"); !strings.HasPrefix(longText, a.Text) {
		t.Errorf("resumed with %q", a.Text)
	}
	p.click("stop")
	p.waitForAnswer("partial")
}

func browseTenants(t testing.TB, p *tab) {
	p.say("for acme only")
	p.waitForAnswer("complete")
	p.waitForSessions("for acme only")

	p.choose("tenant", "globex")
	p.waitFor(`document.querySelector("#sessions-note").textContent === "None yet."`)
	p.waitForSessions()
	if m := p.messages(); len(m) != 0 {
		t.Errorf("globex sees %q", m)
	}
	if page := evaluate[string](p, "document.body.innerText"); strings.Contains(page, "for acme only") {
		t.Errorf("globex sees %q", page)
	}

	p.choose("tenant", "acme")
	p.waitForSessions("for acme only")
	p.waitFor(`document.querySelectorAll('[data-testid="message"]').length === 2`)
}

// browseLimit exceeds globex's limit of two requests an hour.
func browseLimit(t testing.TB, p *tab) {
	p.choose("tenant", "globex")
	for _, m := range []string{"one", "two"} {
		p.say(m)
		if a := p.waitForAnswer("complete"); a.Text != m {
			t.Errorf("got %q", a.Text)
		}
	}
	p.say("three")
	p.waitForNotice("You are sending messages faster than this site allows. You can try again in 60 min.")
	if !evaluate[bool](p, `document.querySelector('[data-testid="retry"]').disabled`) {
		t.Error("retry is enabled")
	}
	p.waitForComposer("three")
	p.waitForMessages("complete", "user: one", "assistant: one", "user: two", "assistant: two")
	p.reload()
	p.waitForComposer("three")
}

func browsePhone(t testing.TB, p *tab) {
	p.resize(360, 740)
	p.say(strings.Repeat("unbroken", 60) + "\n```\n" + strings.Repeat("code that is wide ", 20) + "\n```\nend")
	p.waitForAnswer("complete")
	p.waitForNoSidescroll()
	for _, id := range []string{"tenant", "new-chat", "composer", "send"} {
		if !evaluate[bool](p, fmt.Sprintf(`(() => {
			const box = document.querySelector('[data-testid=%q]').getBoundingClientRect();
			return box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight && box.width > 0;
		})()`, id)) {
			t.Errorf("%s is not on the screen", id)
		}
	}
	p.waitFor(`document.querySelector("#latest").hidden`)
	p.resize(320, 568)
	p.waitForNoSidescroll()
	p.waitFor(`document.querySelector("#latest").hidden`)
	// a smaller page may be scrolled by the browser before anything hears of its size
	if !evaluate[bool](p, `(() => {
		const scroller = document.querySelector("#scroller");
		scroller.style.maxHeight = scroller.clientHeight / 2 + "px";
		scroller.dispatchEvent(new Event("scroll"));
		return document.querySelector("#latest").hidden;
	})()`) {
		t.Error("the page does not follow the answer any more")
	}
}

func (p *tab) waitForNoSidescroll() {
	p.t.Helper()
	p.waitFor(`[document.scrollingElement, document.body, document.querySelector("#scroller")].every((e) => e.scrollWidth <= e.clientWidth)`)
}

// contrast computes WCAG's contrast ratio of an element's text and background, from
// 1 to 21. The required minimum is 4.5.
const contrast = `(selector) => {
	const luminance = (colour) => {
		const [r, g, b] = colour.match(/[\d.]+/g).map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const element = document.querySelector(selector);
	let behind = element;
	while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
	const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(luminance);
	return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}`

func browseColours(t testing.TB, p *tab) {
	p.say("in black and white")
	p.waitForAnswer("complete")
	p.waitForSessions("in black and white")
	var backgrounds []string
	for _, scheme := range []string{"light", "dark"} {
		p.prefer(scheme)
		backgrounds = append(backgrounds, evaluate[string](p, "getComputedStyle(document.body).backgroundColor"))
		for _, selector := range []string{
			"#title", "#tenant", "#hint", "#new-chat", "#composer", ".open .name", ".open time",
			`[data-role="user"] .text`, `[data-role="assistant"] .text`, `[data-role="assistant"] .meta`,
		} {
			if c := evaluate[float64](p, fmt.Sprintf("(%s)(%q)", contrast, selector)); c < 4.5 {
				t.Errorf("%s: %s has a contrast of %.1f", scheme, selector, c)
			}
		}
	}
	if backgrounds[0] == backgrounds[1] {
		t.Errorf("light and dark are both %s", backgrounds[0])
	}
}

// pictured is the message in the picture, which the echo provider repeats.
const pictured = "Say after me: a whole chat gateway is four lines.\n" +
	"```\n" + `chat.example.com {
	tenant_resolve
	chat_ratelimit
	chat_session
	ai_gateway openai {env.OPENAI_API_KEY}
}
` + "```"

// browsePicture takes the README's picture, and writes it if UPDATE_SCREENSHOT is
// set.
func browsePicture(t testing.TB, p *tab) {
	p.resize(1200, 750)
	for _, m := range []string{"Who else can read this?", "What is left of my limit?", pictured} {
		p.click("new-chat")
		p.waitFor(`document.querySelectorAll('[data-testid="message"]').length === 0`)
		p.say(m)
		p.waitForAnswer("complete")
	}
	p.waitForSessions("Say after me: a whole chat gateway is four lines.", "What is left of my limit?", "Who else can read this?")
	shot, err := p.screenshot()
	if err != nil {
		t.Fatal(err)
	}
	size, err := png.DecodeConfig(bytes.NewReader(shot))
	if err != nil || size.Width != 2400 || size.Height != 1500 {
		t.Fatalf("the picture: %+v, %v", size, err)
	}
	if os.Getenv("UPDATE_SCREENSHOT") == "" {
		return
	}
	if err := os.WriteFile("../../docs/chat.png", shot, 0o644); err != nil {
		t.Fatal(err)
	}
}

func browseOutage(t testing.TB, p *tab, c *harness.Caddy) {
	p.say("before")
	p.waitForAnswer("complete")
	c.Stop()
	p.say("are you there")
	p.waitForNotice("The server cannot be reached.")
	p.waitForComposer("are you there")

	c.Restart()
	p.waitForNotice("The server is back.")
	p.reload()
	p.waitForComposer("are you there")
	p.click("send")
	p.waitFor(`document.querySelectorAll('[data-testid="message"]').length === 4`)
	p.waitForAnswer("complete")
	p.waitForComposer("")
	want := []shown{
		{"user", "complete", "before"},
		{"assistant", "complete", "before"},
		{"user", "complete", "are you there"},
		{"assistant", "complete", "are you there"},
	}
	if got := p.messages(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
