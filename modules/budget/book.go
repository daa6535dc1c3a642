package budget

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/price"
	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/store"
	"github.com/caddy-chat/caddy-chat/modules/tenant"
)

// ErrExhausted says that a budget has no room for more of a running answer.
// The ExceededError that it comes with says which.
var ErrExhausted = errors.New("the budget is used up")

// ExceededError is a call that does not fit.
type ExceededError struct {
	Budget string // such as tokens/day, or a window's name
	Period string // day or month, empty for a window
	Window bool   // whether it is a token window and not a budget

	// RetryAfter is how long until there may be room: until the period ends,
	// or until enough has left the window; 0 where it is what other calls hold
	// that is in the way, since it is not known when they end.
	RetryAfter time.Duration
}

func (e *ExceededError) Error() string {
	if e.RetryAfter <= 0 {
		return e.Budget + " has no room for it beside the calls that run"
	}
	return fmt.Sprintf("%s has no room for it, for %v", e.Budget, e.RetryAfter)
}

// Admission is a call that wants to begin.
type Admission struct {
	// ID names the reservation inside the tenant: another one for every call.
	ID string

	// Tenant is whose budgets count; nil for none.
	Tenant *tenant.Tenant

	// Model is the alias, or what stands for all models without one: what
	// such a call usually produces is learnt under this name.
	Model string

	// Windows are the token windows that count the call.
	Windows []Window

	// Price is that of the target that is called first.
	Price price.Price

	// Input is an estimate of the input, in tokens.
	Input int64

	// OutputCap is how many tokens of output the request allows at most, of
	// all choices together; 0 where it does not say.
	OutputCap int64

	// Choices is how many answers are asked for at once, each as long as usual where
	// there is no cap: 1 if it is 0.
	Choices int

	// NoOutput says that such a call has no output, as embeddings have none.
	NoOutput bool
}

// DefaultWarnAt are the fractions of a budget at which to warn by default.
var DefaultWarnAt = []float64{0.8, 1}

// Book opens reservations, and remembers how much calls usually produce. It
// is safe for concurrent use.
type Book struct {
	warnAt []float64 // ascending

	mu       sync.Mutex
	averages map[subject]*average
}

// subject is what an average is of.
type subject struct{ tenant, model string }

// NewBook returns a book that warns when a budget has been used to one of
// these fractions.
func NewBook(warnAt []float64) *Book {
	return &Book{warnAt: slices.Sorted(slices.Values(warnAt)), averages: make(map[subject]*average)}
}

// Open reserves what a call is expected to use: its input, and its cap of
// output or what such calls usually produce. A call that does not fit is an
// *ExceededError; any other error is the ledger's. The hold is nil, which is
// fine to use, where nothing counts the call.
func (b *Book) Open(ctx context.Context, ledger store.Ledger, a Admission) (*Hold, error) {
	now := time.Now()
	accounts := accountsOf(a, now)
	if len(accounts) == 0 {
		return nil, nil
	}
	h := &Hold{
		book: b, ledger: ledger, id: a.ID, model: a.Model, outputCap: a.OutputCap, noOutput: a.NoOutput, choices: int64(max(a.Choices, 1)),
		accounts: accounts, price: a.Price, margin: leastStep / 4,
		expect: provider.Usage{Input: a.Input, Output: a.OutputCap},
	}
	if a.Tenant != nil {
		h.tenant = a.Tenant.ID
	}
	h.least = h.expect
	if a.OutputCap <= 0 && !a.NoOutput {
		output, least := b.expects(subject{h.tenant, h.model})
		h.expect.Output, h.least.Output = output*h.choices, least*h.choices
	}
	if err := h.reserveAll(ctx, now, h.firstOf(h.expect), h.firstOf(h.least)); err != nil {
		return nil, err
	}
	return h, nil
}

const (
	// unlearnt is how many tokens of output are expected of calls before any
	// has been made.
	unlearnt = 1000

	// shortest is how many of these there has to be room for: a guess is no
	// reason to refuse a call until a period ends.
	shortest = 32

	// maxAverages bounds what is remembered.
	maxAverages = 10_000
)

// average follows a figure as TCP follows a round-trip time (RFC 6298): a
// moving mean, and the moving mean of how far off it was.
type average struct{ mean, deviation float64 }

func (v *average) add(x float64) {
	off := math.Abs(x - v.mean)
	v.deviation += (off - v.deviation) / 4
	v.mean += (x - v.mean) / 8
}

// most is what the next figure will rarely pass.
func (v *average) most() int64 { return int64(math.Ceil(v.mean + 4*v.deviation)) }

// expects is how many tokens of output to expect of an answer, and how many to do with.
func (b *Book) expects(s subject) (output, least int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v := b.averages[s]; v != nil {
		return v.most(), v.most()
	}
	return unlearnt, shortest
}

// learn notes how many tokens an answer had. Go starts to walk a map at a
// random place.
func (b *Book) learn(s subject, output int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v := b.averages[s]; v != nil {
		v.add(float64(output))
		return
	}
	if len(b.averages) >= maxAverages {
		for other := range b.averages {
			delete(b.averages, other)
			break
		}
	}
	b.averages[s] = &average{float64(output), float64(output) / 2}
}
