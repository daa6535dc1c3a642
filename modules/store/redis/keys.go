package redis

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/caddy-chat/caddy-chat/modules/store"
)

// A key is the prefix, the tenant in braces, which make all keys of a tenant fall
// into one hash slot, and a letter for the concern. The ids of sessions have one
// length, so that what follows them may be any text.
//
//	s:<id>:<user>         a session: title, created, next, latest (hash)
//	m:<id>:<user>         its messages by number (hash)
//	x:<id>:<user>         the numbers of those that expire (sorted set)
//	u:<user>              a user's sessions by time (sorted set)
//	t:<id>:<user>         the newest turn of a session (hash)
//	e:<id>:<user>:<turn>  its events (stream)
//	i:<turn>:<user>       the id of its session
//	l:<key>  q:<key>  k:<key>   a limiter's requests, demand and slots
//	c:<key>  h:<key>  a:<key>   a budget's counter, its holds' ends and amounts
//	w:<key>               what slides of a budget (sorted set)
//	r:<id>  d:<id>        what a reservation holds, and that it was settled
//	v:<digest>            a cached value (hash)
type keyspace string

func (p keyspace) tenant(tenant string) string { return string(p) + "{" + tenant + "}:" }

// declared are the keys that a script declares: what a tenant's keys begin with, and one
// that never exists. While a cluster moves their slot, no server has all keys of the
// tenant. With a single key it would let the new one run the script, which would miss
// what has not come yet; for two that are not there it answers TRYAGAIN.
func (p keyspace) declared(tenant string) []string {
	root := p.tenant(tenant)
	return []string{root, root + "-"}
}

// session returns the end of a session's keys.
func session(s store.SessionKey) string { return s.ID + ":" + s.User }

// cached holds a digest, because callers may put a whole request into their key.
func cached(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "v:" + hex.EncodeToString(sum[:])
}
