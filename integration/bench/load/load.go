package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Plan is how many requests are made, and when.
type Plan struct {
	Addr        string
	Request     *Request
	Connections int

	// Requests are made for Duration, or as many as Requests if that is set.
	Duration time.Duration
	Requests int64

	// Rate is how many requests a second begin, however long their answers
	// take. 0 is the closed loop: each connection makes its next request when
	// it has its answer.
	Rate float64

	// Stagger is the time over which the connections of a closed loop begin,
	// so that their answers do not arrive in step.
	Stagger time.Duration

	// Skip is the time at the beginning in which no times of words are kept.
	Skip time.Duration
}

// Result is what was measured.
type Result struct {
	Requests int
	Words    int
	Took     []time.Duration // from when a request was due to its answer's end
	First    []time.Duration // and to its first word
	Lags     []time.Duration // from the sending of a word to its arrival
}

// Add adds the result of another run.
func (r *Result) Add(o Result) {
	r.Requests += o.Requests
	r.Words += o.Words
	r.Took = append(r.Took, o.Took...)
	r.First = append(r.First, o.First...)
	r.Lags = append(r.Lags, o.Lags...)
}

// Run makes the requests and returns once all are answered.
func (p Plan) Run(ctx context.Context) (Result, error) {
	conns, err := dialAll(ctx, p.Addr, p.Connections)
	defer closeAll(conns)
	if err != nil {
		return Result{}, err
	}
	stop := context.AfterFunc(ctx, func() { closeAll(conns) })
	defer stop()

	begun := time.Now()
	next := p.schedule(ctx, begun)
	results := make([]Result, len(conns))
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		late := p.Stagger * time.Duration(i) / time.Duration(len(conns))
		c.from = begun.Add(p.Skip)
		wg.Go(func() {
			time.Sleep(late)
			results[i], errs[i] = c.loop(p.Request.clone(), next)
		})
	}
	wg.Wait()

	var all Result
	for _, r := range results {
		all.Add(r)
	}
	if ctx.Err() != nil {
		return all, ctx.Err()
	}
	for _, err := range errs {
		if err != nil {
			return all, err // the others' errors are the same
		}
	}
	return all, nil
}

// schedule returns a function that waits for the next request. It returns the
// request's number and when it was due, or false if there are no more.
func (p Plan) schedule(ctx context.Context, begun time.Time) func() (n int64, due time.Time, ok bool) {
	var made atomic.Int64
	return func() (n int64, due time.Time, ok bool) {
		n = made.Add(1) - 1
		due = time.Now()
		if p.Rate > 0 {
			due = begun.Add(time.Duration(float64(n) / p.Rate * float64(time.Second)))
		}
		if ctx.Err() != nil || p.over(n, due.Sub(begun)) {
			return n, due, false
		}
		// A late connection has kept its request waiting, which counts. An
		// early one sleeps, perhaps a millisecond too long, which is not the
		// server's time.
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
			due = time.Now()
		}
		return n, due, true
	}
}

// over reports whether request n, due after that time, is beyond the plan. The
// first never is, so that there is something to measure.
func (p Plan) over(n int64, after time.Duration) bool {
	if p.Requests > 0 {
		return n >= p.Requests
	}
	return n > 0 && after >= p.Duration
}

// loop makes requests until there are no more.
func (c *conn) loop(req *Request, next func() (int64, time.Time, bool)) (Result, error) {
	var r Result
	for {
		n, due, ok := next()
		if !ok {
			return r, nil
		}
		req.number(n)
		got, err := c.do(req)
		if err != nil {
			return r, err
		}
		r.Requests++
		r.Words += got.words
		r.Took = append(r.Took, time.Since(due))
		r.First = append(r.First, got.first.Sub(due))
		r.Lags = append(r.Lags, got.lags...)
	}
}
