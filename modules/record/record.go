// Package record holds the one record of a request that the chat handlers
// share. They never import each other: each takes from the record what it
// needs and adds what it knows.
package record

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-chat/caddy-chat/modules/budget"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// Anonymous is the user of a request that names none.
const Anonymous = "anonymous"

// The headers that the chain sets for the next handler.
const (
	HeaderTenant = "X-Tenant-Id"
	HeaderUser   = "X-User-Id"
	HeaderTrace  = "X-Trace-Id"
)

// The sources that a tenant may be resolved by.
const (
	SourceHeader = "header"
	SourceHost   = "host"
	SourceAPIKey = "api_key"
	SourceJWT    = "jwt"
)

// Record is what the chain knows of one request. It belongs to the goroutine
// that serves the request.
type Record struct {
	// TraceID is always set.
	TraceID string

	// Tenant is nil until one is found.
	Tenant *tenant.Tenant

	// Source is the source that named the tenant; empty where the
	// configuration did.
	Source string

	// Authenticated says that an API key or a token has let the request in.
	Authenticated bool

	// Keys are those of the tenant's keys that let the request in; empty where
	// it needed none.
	Keys []tenant.Digest

	// User is never empty.
	User string

	// Session is the conversation's id, empty without one.
	Session string

	// Limiters is how many handlers have limited the request so far.
	Limiters int

	// TokenWindows are what the limiters want the model call counted in.
	TokenWindows []budget.Window

	// Turn is set by the handler that keeps the conversation.
	Turn *Turn

	// Translated says that a handler has made the chat completions request of
	// another API's request.
	Translated bool

	// Beside is the same request in another API, as far as a provider speaks that; nil if
	// there is none.
	Beside *Beside

	// FlatTools says that the tools of that request were in the shape of Responses.
	FlatTools bool

	// Prompt is the chat completions request, with the history of its session, that a
	// request to count tokens stands for; nil without a session. The handler that
	// counts it sets it to nil.
	Prompt []byte

	// BeforeCall is called before a model is asked, which an error prevents; nil for
	// nothing.
	BeforeCall func() error

	// Call is what is known of the model call. SetCall changes it.
	Call Call

	// BodyRead says that a handler has read the body, or begun to.
	BodyRead bool

	// ErrorCode is the code of the failure that was answered, empty where
	// all went well.
	ErrorCode string

	// mu guards headers and Call: a keep-alive may begin the answer, and have
	// placeholders read for its header, while a handler is at work.
	mu      sync.Mutex
	headers []header
}

// header is one of the answer's, under its canonical name.
type header struct {
	name, value string
	added       bool // to the values that other handlers set
}

// Turn is one message of a conversation on its way to a model.
type Turn struct {
	// Model is the model that the client asked for, empty where it asked for
	// none. The body on the wire names the tenant's default model in that
	// case, because not everything that may follow has a default of its own.
	Model string
}

// Beside is a request in another API than chat completions, beside the one that was made of
// it. A provider that speaks the API answers in both.
type Beside struct {
	provider.Native

	// Omitted names what was left out of it.
	Omitted []string

	// For the providers that do not speak it: why they cannot be asked, or nil, and which
	// members of the request they do not get.
	Refused error
	Dropped []string

	// Assembler returns what makes a document of the API of a streamed answer.
	Assembler func() door.Assembler

	// Taken says that a handler which knows the providers has the request.
	Taken bool
}

// Call is one model call, as far as it went.
type Call struct {
	Model    string // the alias
	Provider string // the provider's name
	Attempts int    // calls made
	Usage    provider.Usage
	CostUSD  float64
	TTFT     time.Duration // until the first content; 0 without any

	// BudgetSpent says that the answer was ended because the tenant's budget
	// was used up.
	BudgetSpent bool
}

const varKey = "chat.record"

// headerRoom is how many headers an answer usually has.
const headerRoom = 16

// Get returns the request's record, nil where no chat handler has seen the
// request yet.
func Get(r *http.Request) *Record {
	rec, _ := caddyhttp.GetVar(r.Context(), varKey).(*Record)
	return rec
}

// Begin makes the record of a request. There must be none yet.
func Begin(r *http.Request) *Record {
	rec := &Record{
		TraceID: traceID(r.Header),
		User:    Anonymous,
		headers: make([]header, 0, headerRoom),
	}
	Put(r, rec)
	return rec
}

// Put makes rec the record of a request that has none.
func Put(r *http.Request, rec *Record) {
	caddyhttp.SetVar(r.Context(), varKey, rec)
	rec.providePlaceholders(r)
}

// TenantID returns the tenant's id, empty without a tenant.
func (rec *Record) TenantID() string {
	if rec.Tenant == nil {
		return ""
	}
	return rec.Tenant.ID
}

// SetCall notes what is known of the model call now.
func (rec *Record) SetCall(c Call) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.Call = c
}

// CallSoFar is what is known of the model call.
func (rec *Record) CallSoFar() Call {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.Call
}

// Fork returns a record for work that may outlive the request: what that
// learns does not come to this one.
func (rec *Record) Fork() *Record {
	return &Record{
		TraceID:       rec.TraceID,
		Tenant:        rec.Tenant,
		Source:        rec.Source,
		Authenticated: rec.Authenticated,
		Keys:          rec.Keys,
		User:          rec.User,
		Session:       rec.Session,
		Limiters:      rec.Limiters,
		TokenWindows:  rec.TokenWindows,
		Turn:          rec.Turn,
		Translated:    rec.Translated,
		FlatTools:     rec.FlatTools,
		Call:          rec.CallSoFar(),
	}
}

// SetHeader sets a header of the answer that no later handler can override,
// because it is set once more when the answer begins.
func (rec *Record) SetHeader(w http.ResponseWriter, name, value string) {
	name = http.CanonicalHeaderKey(name)
	w.Header()[name] = []string{value}

	rec.mu.Lock()
	defer rec.mu.Unlock()
	for i := range rec.headers {
		if rec.headers[i].name == name && !rec.headers[i].added {
			rec.headers[i].value = value
			return
		}
	}
	rec.headers = append(rec.headers, header{name: name, value: value})
}

// AddHeader adds a list to a header of the answer, to which handlers and servers
// behind may add others.
func (rec *Record) AddHeader(w http.ResponseWriter, name, value string) {
	name = http.CanonicalHeaderKey(name)
	added := header{name, value, true}
	added.apply(w.Header())

	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !slices.Contains(rec.headers, added) {
		rec.headers = append(rec.headers, added)
	}
}

// DropHeader keeps a header off the answer that later handlers may set.
func (rec *Record) DropHeader(w http.ResponseWriter, name string) {
	w.Header().Del(name)

	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.headers = append(rec.headers, header{name: http.CanonicalHeaderKey(name)})
}

// ApplyHeaders sets, adds and drops the headers again.
func (rec *Record) ApplyHeaders(h http.Header) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, kept := range rec.headers {
		kept.apply(h)
	}
}

func (kept header) apply(h http.Header) {
	values := h[kept.name]
	switch {
	case kept.added:
		if !slices.Contains(values, kept.value) {
			h[kept.name] = append(values, kept.value)
		}
	case kept.value == "":
		delete(h, kept.name)
	case len(values) != 1 || values[0] != kept.value:
		h[kept.name] = []string{kept.value}
	}
}

// ClientIP is the client's address as Caddy determined it.
func ClientIP(r *http.Request) string {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return ip
}
