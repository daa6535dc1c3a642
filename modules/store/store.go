// Package store says what the chat modules need of a store, one small
// interface a concern. Every method takes the tenant first and is one atomic
// operation that an embedded transaction and a server-side script can both
// carry out; storetest holds the suite that every implementation passes.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// What every implementation answers, tested with errors.Is.
var (
	// ErrNotFound says that there is no such session, turn or entry under
	// this tenant and user.
	ErrNotFound = errors.New("not found")

	// ErrNoSlot says that as many requests run as may run at once.
	ErrNoSlot = errors.New("no slot is free")

	// ErrBusy says that another turn of the session is still running.
	ErrBusy = errors.New("a turn of this session is still running")

	// ErrGoneOn says that a session has newer messages than the one it was to go on from.
	ErrGoneOn = errors.New("the session has gone on")

	// ErrKeyTaken says that a key has a value, or a turn that runs.
	ErrKeyTaken = errors.New("the key is taken")

	// ErrLost says that the node that ran a turn is gone.
	ErrLost = errors.New("the node that ran this turn is gone")

	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("store is closed")

	// ErrFull says that a limiter holds as many keys as it may, none of
	// which has expired.
	ErrFull = errors.New("limiter is full")

	// ErrExceeded says that a reservation does not fit what is left.
	ErrExceeded = errors.New("does not fit what is left")
)

// Store is everything one store offers. It is safe for concurrent use.
type Store interface {
	Sessions
	Turns
	Limiter
	Ledger
	Cache

	// TakeWithin takes as Take does, if every budget has room for its Want, and tells
	// their balances, in the order of budgets. It reserves nothing.
	TakeWithin(ctx context.Context, tenant string, takes []Take, budgets []Budget) (results []Taken, balances []Balance, granted bool, err error)

	// Health returns why the store cannot be relied on, or nil. It waits for
	// nothing.
	Health() error

	// Waiting returns how many writes the store has accepted and not yet done,
	// because its server does not answer; 0 of an embedded store.
	Waiting() int

	// Size returns the bytes that the store takes on disk, or in the
	// server's memory for this prefix; 0 where it cannot be known.
	Size() int64

	// Close writes out what is still in memory and closes the store. It
	// may be called twice.
	Close() error
}

// SessionKey names one session inside a tenant. Session ids are the
// client's, so a session is found only together with its user.
type SessionKey struct {
	User string // 1 to 128 characters, any
	ID   string // a UUID in its canonical lower-case form
}

// The statuses of a message.
const (
	StatusComplete = "complete" // all of it is there
	StatusPartial  = "partial"  // as far as it came
)

// Message is one stored message.
type Message struct {
	// Seq numbers the messages of a session, counting from 1 without gaps.
	// The store sets it.
	Seq uint64 `json:"-"`

	ID         string    `json:"id"` // UUIDv7
	Role       string    `json:"role"`
	Content    string    `json:"content"`
	Time       time.Time `json:"time"`
	TokenCount int       `json:"tokens,omitempty"`
	ModelID    string    `json:"model,omitempty"`
	Status     string    `json:"status"` // StatusComplete or StatusPartial

	// Raw is the whole message as it goes to a model, a JSON object without
	// white space between its tokens, where Role and Content do not say all
	// of it: parts that are not text, tool calls, the call that a result is
	// for. It is empty where they do.
	Raw json.RawMessage `json:"raw,omitempty"`
}

// Session is what a list shows of a session.
type Session struct {
	ID        string
	Title     string
	CreatedAt time.Time // of the session
	UpdatedAt time.Time // of its newest message
	Messages  int       // how many are kept and not expired
	Lost      bool      // as Turns.Lost
}

// AppendOptions are the rules under which messages are kept.
type AppendOptions struct {
	// Create makes a session that does not exist. Without it, Append to an
	// unknown session answers ErrNotFound, so that the answer of a turn does
	// not bring back a session that was deleted meanwhile.
	Create bool

	// Title is given to a session that Append creates.
	Title string

	// Retention is how long the messages are kept, from their own time;
	// zero keeps them for good. A session lives as long as its longest-lived
	// message.
	Retention time.Duration

	// MaxMessages is how many messages the session keeps, the newest ones;
	// zero keeps all.
	MaxMessages int

	// Turn is the running turn whose end the messages are; empty if they are of
	// none. If the turn has been ended by EndLost, Append answers ErrNotFound. If the
	// store's server does not answer, the messages are stored when it does again,
	// since the client has seen them; they have no Seq then.
	Turn string
}

// Range picks messages by sequence number.
type Range struct {
	Before uint64 // only messages with a smaller Seq; 0 for no bound
	After  uint64 // only messages with a larger Seq; 0 for no bound
	Limit  int    // at most so many, at least 1: the oldest ones where only After is set, else the newest ones
	Bytes  int64  // ends with the message that makes them larger than this, about; 0 for no bound
}

// Cursor is a place in the list of sessions, newest first.
type Cursor struct {
	UpdatedAt time.Time // millisecond precision
	ID        string
}

// Sessions keeps the conversations.
type Sessions interface {
	// Append adds messages at the end of a session, in order, prunes it to
	// opts.MaxMessages, and makes it the newest of the user's sessions. It
	// sets the messages' Seq. Either all of it happens or nothing.
	Append(ctx context.Context, tenant string, s SessionKey, opts AppendOptions, msgs ...*Message) error

	// Retract removes the messages with the numbers from first to last if the
	// last is the newest of its session, and the session with them if nothing
	// is left; otherwise it changes nothing. It undoes an Append whose turn
	// never took place, in one round trip to a server.
	Retract(ctx context.Context, tenant string, s SessionKey, first, last uint64) error

	// History returns messages of a session, oldest first, and whether there
	// are more of them beyond the limit. An unknown session is ErrNotFound.
	History(ctx context.Context, tenant string, s SessionKey, r Range) (msgs []Message, more bool, err error)

	// Sessions lists a user's sessions, newest first, those after the cursor
	// where one is given, and whether there are more beyond the limit.
	Sessions(ctx context.Context, tenant, user string, after *Cursor, limit int) (list []Session, more bool, err error)

	// Delete removes a session and all that belongs to it. An unknown session
	// is ErrNotFound.
	Delete(ctx context.Context, tenant string, s SessionKey) error

	// EraseTenant removes everything that the store holds for a tenant.
	EraseTenant(ctx context.Context, tenant string) error
}

// Event is one event of a turn as clients see it, in the turn's own words:
// the handler that appends it is the only one that reads Kind and Data.
type Event struct {
	N    int // its number in the turn, counting from 1
	Kind byte
	Data []byte
}

// Beginning says how a turn begins.
type Beginning struct {
	Turn  string
	Lease time.Duration

	// Takes are slots that the turn takes, or ErrNoSlot is the answer. They have no
	// windows, and are given back to Release.
	Takes []Take

	// Key is claimed with the session, or ErrKeyTaken is the answer; nil for none.
	Key *KeyClaim

	// After is the number of the newest message that the session may have, or ErrGoneOn
	// is the answer, or ErrNotFound if the session has no message; 0 for any.
	After uint64

	// Further appends messages only to a session that has some. Otherwise they get no Seq.
	Further bool

	// Past says how many of the newest messages are read, and how large these are.
	Past Range

	AppendOptions
}

// KeyClaim is a claim that a cached value stands in the way of.
type KeyClaim struct {
	Session SessionKey // whose turn it is
	Turn    string
	Lease   time.Duration
	Key     string // of the value
	First   Event
}

// Begun is a turn that has begun.
type Begun struct {
	Cancelled <-chan struct{} // as of Claim
	KeyLeft   <-chan struct{} // the same of Beginning.Key
	Past      []Message       // oldest first; empty for a new session
	More      bool            // whether there are older ones
}

// Ending says how a turn ends whose node is gone.
type Ending struct {
	Turn string
	Keep time.Duration // how long its events can be read
	Last []Event

	AppendOptions
}

// Turns keeps the one running turn of each session, and its events for
// clients that come back.
type Turns interface {
	// Claim makes turn the running one of the session, or answers ErrBusy if
	// another one is running. In a shared store the claim is a lease that
	// Publish and KeepTurn renew, so that a node that dies frees its
	// sessions; an embedded store dies with its process and needs no lease.
	// The channel is closed when the turn is cancelled or the claim is lost.
	// ErrLost says that the node of an earlier turn is gone, which EndLost ends.
	Claim(ctx context.Context, tenant string, s SessionKey, turn string, lease time.Duration) (cancelled <-chan struct{}, err error)

	// ClaimKey claims a session as Claim does, takes slots, and appends the turn's first
	// event, all of it or nothing, in one round trip to a server. If a value is cached
	// under the key, it returns that instead, and no channel; or both, if the claim is over
	// it.
	ClaimKey(ctx context.Context, tenant string, c KeyClaim, over bool, takes []Take) (value []byte, cancelled <-chan struct{}, err error)

	// Begin claims the session as Claim does, and a key as ClaimKey, takes slots, reads
	// the session's newest messages, and appends msgs, if any, creating the session if
	// need be: all of it or nothing, in one round trip to a server.
	Begin(ctx context.Context, tenant string, s SessionKey, b Beginning, msgs ...*Message) (Begun, error)

	// KeepTurn renews the claim of a turn that has nothing to publish. ErrLost says
	// that the claim is lost, and ErrNotFound alone that the turn has ended, or its
	// session was deleted.
	KeepTurn(ctx context.Context, tenant string, s SessionKey, turn string, lease time.Duration) error

	// Publish appends events to the running turn, in order. Followers see all
	// events of a call or none of them, and wake once for all.
	Publish(ctx context.Context, tenant string, s SessionKey, turn string, evs ...Event) error

	// FinishTurn appends the last events, ends the turn and frees the session
	// at once: a client that reads the last event may send the next message.
	// The events can be read for another keep, or less if memory runs short.
	// It may be called twice.
	FinishTurn(ctx context.Context, tenant string, s SessionKey, turn string, keep time.Duration, last ...Event) error

	// Lost reports whether the node that ran the session's turn is gone, so that
	// EndLost may end it.
	Lost(ctx context.Context, tenant string, s SessionKey) (bool, error)

	// EndLost appends the last events to a turn whose node is gone, ends it and
	// frees the session, and appends msgs to the session if that still exists: all
	// of it or nothing. It says whether it was this call that ended the turn.
	EndLost(ctx context.Context, tenant string, s SessionKey, e Ending, msgs ...*Message) (bool, error)

	// CancelTurn asks the running turn to stop, if it is this one or turn is empty,
	// and says whether it was running.
	CancelTurn(ctx context.Context, tenant string, s SessionKey, turn string) (bool, error)

	// Follow returns the events of the session's newest turn that come after
	// number n. If the turn is still running and has no more yet, Follow waits
	// for the next one. If since names another turn than the newest one, n
	// does not count and the newest turn is read from its start. No events
	// and no error means that the turn is finished and that all of it has
	// been read. ErrNotFound says that there is no turn to follow, and ErrLost
	// that all of it has been read and its node is gone.
	Follow(ctx context.Context, tenant string, s SessionKey, since string, n int) (turn string, evs []Event, err error)

	// FindTurn returns the session of a user whose newest turn this is, as long
	// as Follow finds that turn. Otherwise it answers ErrNotFound.
	FindTurn(ctx context.Context, tenant, user, turn string) (SessionKey, error)
}

// Take asks one key of a limiter for one request: every window must have
// room, and a slot must be free.
type Take struct {
	// Key names who is counted, inside the tenant.
	Key string

	// Windows must all have room for one more. All windows of a key count
	// the same requests.
	Windows []Window

	// Slots is how many requests of this key may run at once; 0 for no
	// bound. A granted take holds its slot until Release.
	Slots int64

	// Later asks whether a slot is free without taking it: the request takes
	// one when it needs it.
	Later bool
}

// HoldsSlot says whether a granted take has a slot to give back.
func (t Take) HoldsSlot() bool { return t.Slots > 0 && !t.Later }

// Window is one sliding window: at most Limit in any interval of this length.
// With a limit of 0 it refuses, which shows the states of the others without
// counting anything.
type Window struct {
	Limit  int64
	Length time.Duration
}

// WindowState is what a window looks like after a take.
type WindowState struct {
	Remaining int64         // how many more it would let through now
	Reset     time.Time     // when all of it is free again
	Wait      time.Duration // until it lets the next one through; 0 when it would now
}

// Taken is the answer to one Take.
type Taken struct {
	Windows  []WindowState // in the order of Take.Windows
	InUse    int64         // slots in use, this one's included where it was granted, taken or not yet
	SlotFree bool          // false where no slot was free
}

// Limiter counts requests.
type Limiter interface {
	// Take grants one request against all of takes, or none of them: a
	// refused request uses up nothing. Results come in the order of takes.
	// The keys of takes must differ. A granted request that took slots gives
	// the same takes back to Release.
	Take(ctx context.Context, tenant string, takes []Take) (results []Taken, granted bool, err error)

	// Release gives back the slots that a granted Take holds.
	Release(ctx context.Context, tenant string, takes []Take) error
}

// Cache keeps values for a time.
type Cache interface {
	// CacheGet returns a value. One that is missing or has expired is
	// ErrNotFound.
	CacheGet(ctx context.Context, tenant, key string) ([]byte, error)

	// CachePut keeps a value for ttl.
	CachePut(ctx context.Context, tenant, key string, value []byte, ttl time.Duration) error

	// CacheKeep does so for a value that belongs to the end of a session's turn, in order
	// with that. If the store's server does not answer, it is kept when it does again.
	CacheKeep(ctx context.Context, tenant string, s SessionKey, key string, value []byte, ttl time.Duration) error
}
