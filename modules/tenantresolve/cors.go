package tenantresolve

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddy-chat/caddy-chat/modules/chat"
	"github.com/caddy-chat/caddy-chat/modules/record"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

const (
	headerOrigin         = "Origin"
	headerRequestMethod  = "Access-Control-Request-Method"
	headerRequestHeaders = "Access-Control-Request-Headers"

	// Chromium keeps the answer to a preflight no longer than this, in seconds.
	preflightAge = "7200"

	allowedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"

	// maxRequestHeaders is far more than the header names of any SDK.
	maxRequestHeaders = 4096
)

// allowedHeaders may be sent by every page that is allowed at all, beside those
// that it asks for and those that the configuration names.
var allowedHeaders = []string{
	headerAuthorization, "Content-Type", "X-Api-Key", record.HeaderTenant, record.HeaderUser, "X-Session-Id", "Idempotency-Key", "Last-Event-Id",
	record.HeaderTrace, "X-Request-Id", "Traceparent", "Tracestate", "Anthropic-Version", "Anthropic-Beta",
}

// exposedHeaders are those of our answers. A page sees no other headers than
// these and a few that the Fetch standard lists.
var exposedHeaders = strings.Join([]string{
	record.HeaderTrace, record.HeaderTenant, "X-Request-Id", "Request-Id", "X-Model-Id",
	"X-Tokens-In", "X-Tokens-Out", "X-Tokens-Total",
	"X-Ai-Provider", "X-Ai-Fallback", "X-Ai-Attempts", "X-Ai-Cache", "X-Ai-Dropped", "X-Ai-Estimated", "X-Ai-Latency-Ms",
	"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Ratelimit", "Ratelimit-Policy", "Retry-After",
	"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests",
	"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens",
	"Anthropic-Ratelimit-Requests-Limit", "Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset",
	"Anthropic-Ratelimit-Tokens-Limit", "Anthropic-Ratelimit-Tokens-Remaining", "Anthropic-Ratelimit-Tokens-Reset",
	"Anthropic-Ratelimit-Input-Tokens-Limit", "Anthropic-Ratelimit-Input-Tokens-Remaining", "Anthropic-Ratelimit-Input-Tokens-Reset",
	"Anthropic-Ratelimit-Output-Tokens-Limit", "Anthropic-Ratelimit-Output-Tokens-Remaining", "Anthropic-Ratelimit-Output-Tokens-Reset",
	"Www-Authenticate", "Allow",
}, ", ")

// audience is the web pages that may read an answer.
type audience struct {
	// site and own are the lists of the site and of the request's tenant. Pages
	// that they name may also send cookies.
	site, own tenant.Origins

	// others are of tenants that may not be concerned. A page of theirs must not
	// act with the cookies of another one's visitor.
	others tenant.Origins
}

// audienceOf returns the pages for the answers of a tenant, or of the site where a
// request passes without one.
func (h *Handler) audienceOf(t *tenant.Tenant) audience {
	a := audience{site: h.origins}
	if t != nil {
		a.own = t.Origins
	}
	return a
}

// likelyAudience is for a request whose tenant is not known: a preflight, which
// carries no key, or one that was refused.
func (h *Handler) likelyAudience(x *chat.Exchange) audience {
	tenants := h.app.Tenancy()
	t := x.Rec.Tenant
	switch {
	case t != nil:
	case h.Tenant != "":
		t = tenants.ByID(h.Tenant)
	case h.looksAt(record.SourceHost):
		t = tenants.ByHost(x.R.Host)
	}
	a := h.audienceOf(t)
	if t == nil {
		a.others = tenants.Origins()
	}
	return a
}

// admits returns the value of Access-Control-Allow-Origin for a request's Origin,
// empty if its page must not read the answer, and whether it may send cookies.
func (a audience) admits(sent string) (allowed string, cookies bool) {
	origin, ok := tenant.ParseOrigin(sent)
	switch {
	case ok && (a.site.Names(origin) || a.own.Names(origin)):
		return sent, true
	case ok && a.others.Names(origin):
		return sent, false
	case a.site.Any(), a.own.Any(), a.others.Any():
		return "*", false
	default:
		return "", false
	}
}

// sharesAnswers reports whether any page of another origin may read answers.
func (h *Handler) sharesAnswers() bool {
	return !h.origins.Empty() || !h.app.Tenancy().Origins().Empty()
}

// share tells the browser whether the page that made the request may read the
// answer.
func (h *Handler) share(x *chat.Exchange, a audience) {
	if !h.sharesAnswers() {
		return
	}
	x.Rec.AddHeader(x.W, "Vary", headerOrigin)
	if h.admit(x, a) {
		x.Rec.AddHeader(x.W, "Access-Control-Expose-Headers", exposedHeaders)
	}
}

// admit names the request's page in the answer if it is one of the audience.
func (h *Handler) admit(x *chat.Exchange, a audience) bool {
	sent := x.R.Header[headerOrigin]
	if len(sent) != 1 {
		return false
	}
	allowed, cookies := a.admits(sent[0])
	if allowed == "" {
		return false
	}
	x.SetHeader("Access-Control-Allow-Origin", allowed)
	if cookies {
		x.SetHeader("Access-Control-Allow-Credentials", "true")
	} else {
		x.Rec.DropHeader(x.W, "Access-Control-Allow-Credentials")
	}
	return true
}

// preflight answers a browser that asks whether a page may make a request, and
// reports whether it did. A page that is not allowed is left to the next
// handler, which may have an answer of its own.
func (h *Handler) preflight(x *chat.Exchange) bool {
	if x.R.Method != http.MethodOptions || x.R.Header.Get(headerOrigin) == "" || x.R.Header.Get(headerRequestMethod) == "" || !h.sharesAnswers() {
		return false
	}
	for _, name := range []string{headerOrigin, headerRequestMethod, headerRequestHeaders} {
		x.Rec.AddHeader(x.W, "Vary", name)
	}
	if !h.admit(x, h.likelyAudience(x)) {
		return false
	}
	header := x.W.Header()
	header.Set("Access-Control-Allow-Methods", allowedMethods)
	header.Set("Access-Control-Allow-Headers", strings.Join(h.requestHeaders(x.R.Header[headerRequestHeaders]), ", "))
	header.Set("Access-Control-Max-Age", preflightAge)
	x.W.WriteHeader(http.StatusNoContent)
	return true
}

// requestHeaders returns the names of the headers that a page may send: ours,
// those that the configuration names, and those that it asks for.
func (h *Handler) requestHeaders(asked []string) []string {
	names := append(slices.Clone(allowedHeaders), h.UserHeader)
	for _, s := range h.From {
		names = append(names, s.Headers...)
	}
	if list := strings.Join(asked, ","); len(list) <= maxRequestHeaders {
		for name := range strings.SplitSeq(list, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	seen := make(map[string]bool, len(names))
	return slices.DeleteFunc(names, func(name string) bool {
		key := strings.ToLower(name)
		twice := seen[key]
		seen[key] = true
		return twice || !httpguts.ValidHeaderFieldName(name)
	})
}
