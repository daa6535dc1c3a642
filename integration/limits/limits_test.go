package limits

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

func TestRateLimitHeaders(t *testing.T) {
	c := harness.Start(t, harness.PlainTenants, harness.LimitedSite("requests 3 1h"))
	ann := harness.NewClient(c, "acme", "ann")
	sinceEpoch := func(at time.Time) time.Duration { return time.Duration(at.UnixNano()) }

	var first, firstSeen, last, lastSeen time.Time
	for i := range 3 {
		last = time.Now()
		resp := ann.Get()
		lastSeen = time.Now()
		if i == 0 {
			first, firstSeen = last, lastSeen
		}
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("request %d answered %d", i+1, resp.StatusCode)
		}
		harness.WantHeader(t, resp.Header, map[string]string{
			"X-RateLimit-Limit":              "3",
			"X-RateLimit-Remaining":          strconv.Itoa(2 - i),
			"RateLimit-Policy":               `"requests";q=3;w=3600`,
			"Retry-After":                    "",
			"X-Ratelimit-Limit-Requests":     "",
			"X-Ratelimit-Remaining-Requests": "",
		})
		harness.WantWithin(t, "X-RateLimit-Reset", resp.Header.Get("X-RateLimit-Reset"), time.Millisecond,
			sinceEpoch(last.Add(time.Hour)), sinceEpoch(lastSeen.Add(time.Hour)))
		left := strings.TrimPrefix(resp.Header.Get("RateLimit"), fmt.Sprintf(`"requests";r=%d;t=`, 2-i))
		harness.WantWithin(t, "RateLimit's t", left, time.Second, time.Hour-lastSeen.Sub(last), time.Hour)
	}

	for range 2 {
		asked := time.Now()
		resp := ann.Do(http.MethodGet, "/", nil)
		harness.WantHeader(t, resp.Header, map[string]string{
			"X-RateLimit-Limit":     "3",
			"X-RateLimit-Remaining": "0",
			"RateLimit-Policy":      `"requests";q=3;w=3600`,
		})
		harness.WantFailure(t, resp, 429, "rate_limited")
		answered := time.Now()
		// the limit is whole again when the last allowed request is an hour old
		harness.WantWithin(t, "X-RateLimit-Reset", resp.Header.Get("X-RateLimit-Reset"), time.Millisecond,
			sinceEpoch(last.Add(time.Hour)), sinceEpoch(lastSeen.Add(time.Hour)))
		// and the next request is allowed when the first one is
		harness.WantWithin(t, "Retry-After", resp.Header.Get("Retry-After"), time.Second,
			first.Add(time.Hour).Sub(answered), firstSeen.Add(time.Hour).Sub(asked))
	}
}

func TestRateLimitTightest(t *testing.T) {
	c := harness.Start(t, harness.PlainTenants, harness.LimitedSite(`
		requests 5 1h
		requests 100 2h per tenant
		requests 50 1m per ip
		requests 40 2m per ip
		requests 30 1h per {http.request.header.X-Team}
		burst 3 30m`))
	ann := harness.NewClient(c, "acme", "ann")
	resp := ann.Get("X-Team", "red")
	harness.WantHeader(t, resp.Header, map[string]string{"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "2"})
	policy, state := resp.Header.Get("RateLimit-Policy"), resp.Header.Get("RateLimit")
	for _, want := range []string{`"requests";q=5;w=3600`, `"requests-tenant";q=100;w=7200`, `"burst";q=3;w=1800`, `q=50;w=60`, `q=40;w=120`, `q=30;w=3600`} {
		if !strings.Contains(policy, want) {
			t.Errorf("RateLimit-Policy %s has no %s", policy, want)
		}
	}
	for _, want := range []string{`"requests";r=4;t=`, `"requests-tenant";r=99;t=`, `"burst";r=2;t=`} {
		if !strings.Contains(state, want) {
			t.Errorf("RateLimit %s has no %s", state, want)
		}
	}
	if items := strings.Split(policy, ", "); len(items) != 6 || len(strings.Split(state, ", ")) != 6 {
		t.Errorf("want one item per window: %s, %s", policy, state)
	}
	names := make(map[string]bool)
	for item := range strings.SplitSeq(policy, ", ") {
		name, _, _ := strings.Cut(item, ";")
		if names[name] {
			t.Errorf("two windows are named %s", name)
		}
		names[name] = true
	}
}

func TestRateLimitUnderV1(t *testing.T) {
	up := harness.NewUpstream(t)
	up.Plays(harness.Echoes)
	c := harness.Start(t, harness.PlainTenants, "tenant_resolve\n\tchat_ratelimit 2 1h\n\tchat_session\n"+up.Gateway())
	ann := harness.NewClient(c, "acme", "ann")
	const body = `{"messages":[{"role":"user","content":"hi"}]}`
	resp := harness.NewClient(c, "acme", "bob").Do(http.MethodPost, "/v1/chat/completions", `{}`)
	harness.WantHeader(t, resp.Header, map[string]string{"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "1", "X-Ratelimit-Remaining-Requests": "1"})
	harness.WantFailure(t, resp, 400, "invalid_request")
	for i := range 2 {
		resp := ann.Do(http.MethodPost, "/v1/chat/completions", body)
		harness.WantHeader(t, resp.Header, map[string]string{
			"X-Ratelimit-Limit-Requests":     "2",
			"X-Ratelimit-Remaining-Requests": strconv.Itoa(1 - i),
			"X-RateLimit-Limit":              "2",
			"X-RateLimit-Remaining":          strconv.Itoa(1 - i),
		})
		reset, err := time.ParseDuration(resp.Header.Get("X-Ratelimit-Reset-Requests"))
		if err != nil || reset > time.Hour || reset < 50*time.Minute {
			t.Errorf("reset is %v, %v", reset, err)
		}
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
	}
	resp = ann.Do(http.MethodPost, "/v1/chat/completions", body)
	harness.WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Limit-Requests": "2", "X-Ratelimit-Remaining-Requests": "0"})
	if f := harness.WantFailure(t, resp, 429, "rate_limited"); f.Error.Type != "rate_limit_error" || f.TraceID2 == "" {
		t.Errorf("not OpenAI's error body: %+v", f)
	}
	resp = ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi"})
	harness.WantHeader(t, resp.Header, map[string]string{"X-Ratelimit-Limit-Requests": "", "X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "0"})
	if f := harness.WantFailure(t, resp, 429, "rate_limited"); f.TraceID == "" {
		t.Errorf("not the native error body: %+v", f)
	}
}

// fromIP is a client that calls from another address of the loopback network.
func fromIP(c *harness.Client, ip string) *harness.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	other := *c
	other.HTTP = &http.Client{Transport: &http.Transport{DialContext: d.DialContext}}
	c.T.Cleanup(other.HTTP.CloseIdleConnections)
	return &other
}

func TestRateLimitScopes(t *testing.T) {
	t.Parallel()
	t.Run("user", func(t *testing.T) {
		c := harness.Start(t, harness.PlainTenants, harness.LimitedSite("requests 2 1h"))
		harness.NewClient(c, "acme", "ann").WantStatuses("ann", 200, 200, 429)
		harness.NewClient(c, "acme", "bob").WantStatuses("bob", 200, 200, 429)
		harness.NewClient(c, "globex", "ann").WantStatuses("ann elsewhere", 200, 200, 429)
		fromIP(harness.NewClient(c, "acme", "ann"), "127.0.0.2").WantStatuses("ann from elsewhere", 429)
	})
	t.Run("anonymous counts by address", func(t *testing.T) {
		c := harness.Start(t, harness.PlainTenants, harness.LimitedSite("requests 2 1h"))
		harness.NewClient(c, "acme", "").WantStatuses("anonymous", 200, 200, 429)
		harness.NewClient(c, "acme", "anonymous").WantStatuses("anonymous by name", 429)
		fromIP(harness.NewClient(c, "acme", ""), "127.0.0.2").WantStatuses("anonymous from elsewhere", 200, 200, 429)
		harness.NewClient(c, "acme", "127.0.0.1").WantStatuses("a user named like an address", 200)
		if got := harness.NewClient(c, "acme", "").Get("X-Forwarded-For", "10.1.2.3").StatusCode; got != 429 {
			t.Errorf("a forged X-Forwarded-For answered %d", got)
		}
	})
	t.Run("the user named in a body is ignored", func(t *testing.T) {
		up := harness.NewUpstream(t)
		up.Plays(harness.Echoes)
		c := harness.Start(t, harness.PlainTenants, "tenant_resolve\n\tchat_ratelimit 2 1h\n\tchat_session\n"+up.Gateway())
		anonymous := harness.NewClient(c, "acme", "")
		for i := range 2 {
			harness.ReadEvents(t, anonymous.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", UserID: fmt.Sprint("user", i)})).Rest()
		}
		harness.WantFailure(t, anonymous.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "hi", UserID: "user2"}), 429, "rate_limited")
	})
	t.Run("ip", func(t *testing.T) {
		c := harness.Start(t, harness.PlainTenants, harness.LimitedSite("requests 2 1h per ip"))
		harness.NewClient(c, "acme", "ann").WantStatuses("ann", 200)
		harness.NewClient(c, "acme", "bob").WantStatuses("bob", 200, 429)
		fromIP(harness.NewClient(c, "acme", "bob"), "127.0.0.2").WantStatuses("bob from elsewhere", 200, 200, 429)
		harness.NewClient(c, "globex", "ann").WantStatuses("another tenant", 200, 200, 429)
	})
	t.Run("tenant", func(t *testing.T) {
		c := harness.Start(t, harness.PlainTenants, harness.LimitedSite("requests 2 1h per tenant"))
		harness.NewClient(c, "acme", "ann").WantStatuses("ann", 200)
		harness.NewClient(c, "acme", "").WantStatuses("anonymous", 200, 429)
		harness.NewClient(c, "globex", "ann").WantStatuses("another tenant", 200, 200, 429)
	})
	t.Run("placeholder", func(t *testing.T) {
		c := harness.Start(t, harness.PlainTenants, harness.LimitedSite("requests 1 1h per {http.request.header.X-Team}"))
		ann, bob := harness.NewClient(c, "acme", "ann"), harness.NewClient(c, "acme", "bob")
		for i, tc := range []struct {
			who    *harness.Client
			team   string
			status int
		}{{ann, "red", 200}, {bob, "red", 429}, {bob, "blue", 200}, {ann, "blue", 429}, {harness.NewClient(c, "globex", "ann"), "red", 200}} {
			if got := tc.who.Get("X-Team", tc.team).StatusCode; got != tc.status {
				t.Errorf("request %d answered %d, want %d", i+1, got, tc.status)
			}
		}
	})
}

func TestRateLimitPrecedence(t *testing.T) {
	t.Parallel()
	const tenants = `
	chat {
		tenant bare
		tenant loud {
			requests 4 1h
		}
		tenant quick {
			burst 1 30m
		}
		tenant busy {
			concurrent 7
		}
	}
`
	policy := func(c *harness.Caddy, tenant string) string {
		return harness.NewClient(c, tenant, "ann").Get().Header.Get("RateLimit-Policy")
	}
	for _, tc := range []struct{ limits, tenant, want string }{
		{"", "bare", `"requests";q=60;w=60, "burst";q=20;w=10`},
		{"", "busy", `"requests";q=60;w=60, "burst";q=20;w=10`},
		{"", "loud", `"requests";q=4;w=3600`},
		{"", "quick", `"burst";q=1;w=1800`},
		{"concurrent 3", "bare", `"requests";q=60;w=60, "burst";q=20;w=10`},
		{"requests 2 1m", "bare", `"requests";q=2;w=60`},
		{"requests 2 1m", "loud", `"requests";q=4;w=3600`},
		{"requests 2 1m", "quick", `"requests";q=2;w=60, "burst";q=1;w=1800`},
		{"requests 2 1m\n\t\trequests 9 1m per tenant", "loud", `"requests";q=4;w=3600`},
		{"burst 9 1m", "quick", `"burst";q=1;w=1800`},
		{"burst 9 1m", "loud", `"requests";q=4;w=3600, "burst";q=9;w=60`},
	} {
		c := harness.Start(t, tenants, harness.LimitedSite(tc.limits))
		if got := policy(c, tc.tenant); got != tc.want {
			t.Errorf("directive %q, tenant %s: %s, want %s", tc.limits, tc.tenant, got, tc.want)
		}
		c.Stop()
	}
	c := harness.Start(t, tenants, harness.LimitedSite("requests 2 1h"))
	harness.NewClient(c, "loud", "ann").WantStatuses("the tenant's own", 200, 200, 200, 200, 429)
	harness.NewClient(c, "bare", "ann").WantStatuses("the directive's", 200, 200, 429)
	harness.NewClient(c, "quick", "ann").WantStatuses("one of each", 200, 429)
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	t.Run("refused requests use up nothing", func(t *testing.T) {
		c := harness.Start(t, harness.PlainTenants, harness.LimitedSite("requests 2 1h\n\t\trequests 3 1h per tenant"))
		ann, bob := harness.NewClient(c, "acme", "ann"), harness.NewClient(c, "acme", "bob")
		ann.WantStatuses("ann", 200, 200, 429, 429, 429, 429)
		bob.WantStatuses("bob", 200)
		resp := bob.Get()
		if resp.StatusCode != http.StatusTooManyRequests || !strings.Contains(resp.Header.Get("RateLimit"), `"requests";r=1;`) {
			t.Errorf("%d, RateLimit %s: want bob's own window as it was", resp.StatusCode, resp.Header.Get("RateLimit"))
		}
	})

	t.Run("slides exactly", func(t *testing.T) {
		const length = 1500 * time.Millisecond
		c := harness.Start(t, harness.PlainTenants, harness.LimitedSite("requests 1 1500ms"))
		ann := harness.NewClient(c, "acme", "ann")
		sent := time.Now()
		ann.WantStatuses("first", 200)
		seen := time.Now()
		refused := 0
		harness.Eventually(t, "the window allows a request again", func() bool {
			asked := time.Now()
			resp := ann.Get()
			if resp.StatusCode == http.StatusOK {
				return true
			}
			refused++
			harness.WantWithin(t, "Retry-After", resp.Header.Get("Retry-After"), time.Second, max(length-time.Since(sent), 1), max(length-asked.Sub(seen), 1))
			return false
		})
		if passed := time.Since(sent); passed < length || refused == 0 {
			t.Errorf("the second request was allowed %v after the first, with %d refused", passed, refused)
		}
	})

	t.Run("applies to a plain site", func(t *testing.T) {
		app := harness.NewUpstream(t, harness.Document(http.StatusOK, "ok", "X-RateLimit-Limit", "the app's own"))
		c := harness.Start(t, harness.PlainTenants, "tenant_resolve\n\tchat_ratelimit 2 1h\n\treverse_proxy "+app.Origin())
		ann := harness.NewClient(c, "acme", "ann")
		harness.WantHeader(t, ann.Get().Header, map[string]string{"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "1"})
		if got := app.Last().Header; got.Get("X-Tenant-Id") != "acme" || got.Get("X-User-Id") != "ann" {
			t.Errorf("the app got %v", got)
		}
		ann.WantStatuses("the rest", 200, 429)
	})

	t.Run("allows exactly the limit of 500 requests at once", func(t *testing.T) {
		c := harness.Start(t, harness.PlainTenants, harness.LimitedSite("requests 100 1h per tenant\n\t\trequests 90 1h"))
		statuses := map[int]*atomic.Int64{200: {}, 429: {}}
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range 500 {
			wg.Go(func() {
				cl := harness.NewClient(c, "acme", fmt.Sprint("user", i%2))
				<-start
				statuses[cl.Get().StatusCode].Add(1)
			})
		}
		close(start)
		wg.Wait()
		if statuses[200].Load() != 100 || statuses[429].Load() != 400 {
			t.Errorf("%d allowed and %d refused, want 100 and 400", statuses[200].Load(), statuses[429].Load())
		}
	})

	t.Run("is kept across reloads and a restart", func(t *testing.T) {
		c := harness.Start(t, harness.PlainTenants, harness.LimitedSite("requests 3 1h"))
		ann := harness.NewClient(c, "acme", "ann")
		ann.WantStatuses("first", 200)
		c.Reload()
		ann.WantStatuses("after a reload", 200)
		c.Stop()
		c.Restart()
		ann.WantStatuses("after a restart", 200, 429)
		c.WriteConfig(harness.PlainTenants, harness.LimitedSite("requests 5 1h"))
		c.Reload()
		ann.WantStatuses("with a new limit", 200, 200, 429)
	})
}
