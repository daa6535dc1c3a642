package route

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// The policies that order the targets of a model.
const (
	policyFirst          = "first"
	policyRoundRobin     = "round_robin"
	policyWeightedRandom = "weighted_random"
	policyLeastConn      = "least_conn"
	policyLowestLatency  = "lowest_latency"
)

var policies = []string{policyFirst, policyRoundRobin, policyWeightedRandom, policyLeastConn, policyLowestLatency}

// CheckPolicy checks the name of a policy. An empty name stands for first.
func CheckPolicy(s string) error {
	if s != "" && !slices.Contains(policies, s) {
		return fmt.Errorf("lb_policy %q: want one of %s", s, strings.Join(policies, ", "))
	}
	return nil
}

// branch is one target of an alias.
type branch struct {
	Hop
	weight int
}

// balancer orders the targets of one alias, for each request anew.
type balancer struct {
	policy string
	next   atomic.Uint64 // of round_robin
}

// order returns the branches in the order in which a request should try them.
func (b *balancer) order(branches []branch, now time.Time) []Hop {
	list := slices.Clone(branches)
	switch b.policy {
	case policyRoundRobin:
		n := int((b.next.Add(1) - 1) % uint64(len(list)))
		list = append(list[n:], list[:n]...)
	case policyWeightedRandom:
		byKey(list, weightedKey)
	case policyLeastConn:
		// random among those with the same number of calls
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] }) //nolint:gosec // a share of the load is no secret
		byKey(list, func(t branch) float64 { return float64(t.calls.Load()) })
	case policyLowestLatency:
		byKey(list, func(t branch) float64 { return t.cost(now) })
	}
	hops := make([]Hop, len(list))
	for i, t := range list {
		hops[i] = t.Hop
	}
	return hops
}

// byKey sorts by keys that are read only once each, because they may change
// meanwhile.
func byKey(list []branch, key func(branch) float64) {
	type keyed struct {
		branch
		key float64
	}
	all := make([]keyed, len(list))
	for i, t := range list {
		all[i] = keyed{t, key(t)}
	}
	slices.SortStableFunc(all, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
	for i := range all {
		list[i] = all[i].branch
	}
}

// weightedKey draws a key. Sorted by it, each target comes first with a
// probability proportional to its weight: keys are exponential with the weight
// as their rate (Efraimidis and Spirakis, Weighted random sampling with a
// reservoir, 2006).
func weightedKey(t branch) float64 {
	return -math.Log(1-rand.Float64()) / float64(t.weight) //nolint:gosec // a share of the load is no secret
}

// Backoff returns the wait before the nth retry of a target, counting from 1:
// 200 ms, doubled each time up to 5 s, and then randomly between half and one
// and a half of that.
func Backoff(n int) time.Duration {
	const base, most = 200 * time.Millisecond, 5 * time.Second
	d := most
	if n < 6 {
		d = min(base<<(n-1), most)
	}
	return d/2 + rand.N(d) //nolint:gosec // jitter is no secret
}
