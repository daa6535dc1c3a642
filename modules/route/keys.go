package route

import (
	"crypto/sha256"
	"sync"
	"time"
)

// Key is a credential for a provider.
type Key struct {
	Provider string

	// Owner is the tenant whose own key it is, and Digest the key's. Both are
	// empty for the gateway's key, which the tenants without one share.
	Owner  string
	Digest [sha256.Size]byte
}

// scope is what a key's circuit stops: the calls of one model, or all calls if
// model is empty.
type scope struct {
	Key
	model string
}

// maxScopes bounds how many refused keys are remembered, because tenants bring
// their own.
const maxScopes = 10_000

// keyring holds the circuits of the keys that were refused. All others are closed.
// It is safe for concurrent use.
type keyring struct {
	circuit Circuit

	mu       sync.Mutex
	breakers map[scope]*Breaker
}

// KeyPass is a call that the circuits of its key let through. It must end with one
// of its methods; Ended may follow any of them.
type KeyPass struct {
	ring   *keyring
	scopes [2]scope // all models, and the call's
	passes [2]*Pass // nil without a circuit
}

// The places in a KeyPass.
const (
	allModels = iota
	oneModel
)

// EnterKey lets a call with a key through, or returns nil and how long until its
// circuit would let one through.
func (t *Table) EnterKey(key Key, model string, now time.Time) (p *KeyPass, wait time.Duration) {
	p = &KeyPass{ring: t.keys, scopes: [2]scope{{key, ""}, {key, model}}}
	for i, s := range p.scopes {
		b := t.keys.find(s)
		if b == nil {
			continue
		}
		if p.passes[i], wait = b.Enter(now); p.passes[i] == nil {
			p.Ended()
			return nil, wait
		}
	}
	return p, 0
}

// Accepted says that the provider answers with this key. closed says that this
// closed a circuit.
func (p *KeyPass) Accepted() (closed bool) {
	for i, s := range p.scopes {
		b := p.ring.find(s)
		if b == nil {
			continue
		}
		pass := p.pass(i, b)
		closed = closed || pass.probe
		pass.Succeeded()
		p.passes[i] = nil
		p.ring.forget(s, b)
	}
	return closed
}

// Refused says that the provider refuses the key: for the call's model or, if
// forAll, for all models. opened says that this opened a circuit.
func (p *KeyPass) Refused(now time.Time, forAll bool) (opened bool) {
	if p.ring.circuit.Failures == 0 {
		return false
	}
	i := oneModel
	if forAll {
		i = allModels
	}
	opened = p.pass(i, p.ring.of(p.scopes[i])).Failed(now)
	p.Ended()
	return opened
}

// Ended says that the call ended without showing anything about the key.
func (p *KeyPass) Ended() {
	for _, pass := range p.passes {
		if pass != nil {
			pass.Ended()
		}
	}
}

// pass returns the call's pass of a breaker, which may be younger than the call.
func (p *KeyPass) pass(i int, b *Breaker) *Pass {
	if p.passes[i] == nil || p.passes[i].b != b {
		p.passes[i] = &Pass{b: b}
	}
	return p.passes[i]
}

// KeyState returns the state of a key for a model: the worse of its two circuits.
func (t *Table) KeyState(key Key, model string, now time.Time) CircuitState {
	return worse(t.keys.state(scope{key, ""}, now), t.keys.state(scope{key, model}, now))
}

func (k *keyring) find(s scope) *Breaker {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.breakers[s]
}

// of finds or makes a breaker. If there are too many, any other one makes room.
func (k *keyring) of(s scope) *Breaker {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b := k.breakers[s]; b != nil {
		return b
	}
	if len(k.breakers) >= maxScopes {
		for other := range k.breakers {
			delete(k.breakers, other)
			break
		}
	}
	b := newBreaker(k.circuit.Failures, k.circuit.Pause)
	k.breakers[s] = b
	return b
}

// forget drops a breaker without failures.
func (k *keyring) forget(s scope, b *Breaker) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b.idle() && k.breakers[s] == b {
		delete(k.breakers, s)
	}
}

func (k *keyring) state(s scope, now time.Time) CircuitState {
	if b := k.find(s); b != nil {
		return b.State(now)
	}
	return Closed
}

// each calls do with the state of each key that has a circuit.
func (k *keyring) each(now time.Time, do func(scope, CircuitState)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for s, b := range k.breakers {
		do(s, b.State(now))
	}
}
