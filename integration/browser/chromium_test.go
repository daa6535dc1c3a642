package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// chromiumPath finds the browser. It skips the test if none is installed, and
// fails it in CI.
func chromiumPath(t testing.TB) string {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no browser: none of %s is installed", strings.Join(names, ", "))
	}
	t.Skipf("none of %s is installed", strings.Join(names, ", "))
	return ""
}

// startChromium starts a browser with an empty profile, which stops with the test.
// newTab opens its tabs.
func startChromium(t testing.TB) context.Context {
	t.Helper()
	output := new(harness.LogBuffer)
	alloc, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(chromiumPath(t)),
		chromedp.Headless,
		chromedp.NoSandbox, // CI runs as root
		chromedp.DisableGPU,
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), // small in containers
		chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("font-render-hinting", "none"),
		chromedp.CombinedOutput(output),
	)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting the browser: %v\n%s", err, output)
	}
	return ctx
}

// tab is a window of a visitor, who shares nothing with other visitors.
type tab struct {
	t       testing.TB
	ctx     context.Context
	console *harness.LogBuffer // the developer console
	close   func()
}

// newTab opens a window of a new visitor. The test fails if the page throws an
// exception or violates its content security policy.
func newTab(t testing.TB, chromium context.Context) *tab {
	t.Helper()
	return openTab(t, chromium, chromedp.WithNewBrowserContext())
}

// another opens a window of the same visitor, whose pages share what they store.
func (p *tab) another() *tab {
	p.t.Helper()
	return openTab(p.t, p.ctx)
}

func openTab(t testing.TB, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	p := &tab{t: t, ctx: ctx, console: new(harness.LogBuffer)}
	messages := chromedp.Console(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for m, err := range messages {
			if err != nil {
				return
			}
			fmt.Fprintln(p.console, m)
		}
	}()
	p.close = sync.OnceFunc(func() {
		cancel()
		<-read
	})
	t.Cleanup(func() {
		if t.Failed() && ctx.Err() == nil {
			p.keepScreenshot()
		}
		p.close()
		for line := range strings.Lines(p.console.String()) {
			if strings.HasPrefix(line, "exception:") || strings.Contains(line, "Content Security Policy") {
				t.Errorf("the console says: %s", line)
			}
		}
		if t.Failed() {
			t.Logf("the console:\n%s", p.console)
		}
	})
	p.resize(1280, 800)
	return p
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, harness.Patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("the page: %v", err)
	}
}

// evaluate returns the value of a JavaScript expression.
func evaluate[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, harness.Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// waitFor waits until a JavaScript expression is true.
func (p *tab) waitFor(expression string) {
	p.t.Helper()
	harness.Eventually(p.t, expression, func() bool {
		return evaluate[bool](p, "Boolean("+expression+")")
	})
}

// byTestID is the CSS selector of a hook of the page.
func byTestID(id string) chromedp.CSS {
	return chromedp.CSS(fmt.Sprintf("[data-testid=%q]", id))
}

func (p *tab) click(testID string) {
	p.t.Helper()
	p.do(chromedp.WaitEnabled(byTestID(testID)), chromedp.Click(byTestID(testID)))
}

// say enters a message and presses Enter.
func (p *tab) say(message string) {
	p.t.Helper()
	p.write(message)
	p.press("Enter", "\r", 13)
}

// press presses a key as a keyboard does: the key's text follows from the keydown
// event, unless the page prevents that. chromedp.SendKeys sends the text
// separately, which a page cannot prevent.
func (p *tab) press(key, text string, code int64) {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for _, event := range []input.DispatchKeyEventParams{
			{Type: input.DispatchKeyEventTypeKeyDown, Key: key, Code: key, Text: text, WindowsVirtualKeyCode: code},
			{Type: input.DispatchKeyEventTypeKeyUp, Key: key, Code: key, WindowsVirtualKeyCode: code},
		} {
			if _, err := cdp.Call(ctx, target, input.DispatchKeyEvent, event); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (p *tab) write(message string) {
	p.t.Helper()
	p.do(chromedp.Focus(byTestID("composer")), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, input.InsertText, input.InsertTextParams{Text: message})
		return err
	}))
}

// choose picks an option of a select, as a user does.
func (p *tab) choose(testID, value string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf(`(() => {
		const select = document.querySelector('[data-testid=%q]');
		select.value = %q;
		select.dispatchEvent(new Event("change", {bubbles: true}));
		return select.value === %q;
	})()`, testID, value, value))
}

func (p *tab) resize(width, height int64) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height, chromedp.EmulateScale(2)))
}

// prefer sets the visitor's colour scheme, light or dark.
func (p *tab) prefer(scheme string) {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// networkConditions are the parameters of a command that cdproto leaves out because
// it is deprecated. Only this one also changes what the page knows of its network.
type networkConditions struct {
	Offline            bool `json:"offline"`
	Latency            int  `json:"latency"`
	DownloadThroughput int  `json:"downloadThroughput"`
	UploadThroughput   int  `json:"uploadThroughput"`
}

var emulateNetworkConditions = cdp.Command[networkConditions, struct{}]{Method: "Network.emulateNetworkConditions"}

// offline takes the network away from the page, or gives it back.
func (p *tab) offline(is bool) {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if _, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, target, emulateNetworkConditions, networkConditions{Offline: is, DownloadThroughput: -1, UploadThroughput: -1})
		return err
	}))
}

func (p *tab) screenshot() ([]byte, error) {
	ctx, cancel := context.WithTimeout(p.ctx, harness.Patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.CaptureScreenshot())
}

// keepScreenshot saves a screenshot of a failed test.
func (p *tab) keepScreenshot() {
	png, err := p.screenshot()
	file := filepath.Join(os.TempDir(), strings.ReplaceAll(p.t.Name(), "/", "-")+".png")
	if err := errors.Join(err, os.WriteFile(file, png, 0o600)); err != nil {
		p.t.Logf("no screenshot: %v", err)
		return
	}
	p.t.Logf("screenshot: %s", file)
}
