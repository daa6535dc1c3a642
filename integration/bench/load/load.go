package load

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Plan says how many requests are made, and when.
type Plan struct {
	Addr        string
	Request     *Request
	Connections int
	Duration    time.Duration

	// Rate is how many requests a second begin, however long their answers
	// take. 0 is the closed loop: each connection makes its next request when
	// it has its answer.
	Rate float64

	// Stagger is the time over which the connections of a closed loop begin,
	// so that their answers do not come in step.
	Stagger time.Duration
}

// Result is what came of it.
type Result struct {
	Requests int
	Words    int
	Took     []time.Duration // from when a request was due to its answer's end
	First    []time.Duration // and to its first word
	Lags     []time.Duration // from the sending of a word to its arrival
}

func (r *Result) add(o Result) {
	r.Requests += o.Requests
	r.Words += o.Words
	r.Took = append(r.Took, o.Took...)
	r.First = append(r.First, o.First...)
	r.Lags = append(r.Lags, o.Lags...)
}

// Run makes the requests and returns when all answers are there.
func (p Plan) Run() (Result, error) {
	conns := make([]*conn, p.Connections)
	for i := range conns {
		c, err := dial(p.Addr)
		if err != nil {
			return Result{}, err
		}
		defer c.Close()
		conns[i] = c
	}

	due := p.schedule()
	results := make([]Result, len(conns))
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		late := p.Stagger * time.Duration(i) / time.Duration(len(conns))
		wg.Go(func() {
			time.Sleep(late)
			results[i], errs[i] = c.loop(p.Request.clone(), due)
		})
	}
	wg.Wait()

	var all Result
	for _, r := range results {
		all.add(r)
	}
	return all, errors.Join(errs...)
}

// schedule returns when the next request is due, and whether it still is.
func (p Plan) schedule() func() (time.Time, bool) {
	begun := time.Now()
	end := begun.Add(p.Duration)
	if p.Rate == 0 {
		return func() (time.Time, bool) {
			now := time.Now()
			return now, now.Before(end)
		}
	}
	var n atomic.Int64
	return func() (time.Time, bool) {
		due := begun.Add(time.Duration(float64(n.Add(1)-1) / p.Rate * float64(time.Second)))
		if !due.Before(end) {
			return due, false
		}
		time.Sleep(time.Until(due))
		return due, true
	}
}

// loop makes requests until none is due.
func (c *conn) loop(req *Request, next func() (time.Time, bool)) (Result, error) {
	var r Result
	for {
		due, ok := next()
		if !ok {
			return r, nil
		}
		req.renew()
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
