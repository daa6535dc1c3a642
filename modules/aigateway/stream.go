package aigateway

import (
	"errors"
	"io"
	"slices"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// maxHeld is how many bytes of chunks are held back before the first content.
const maxHeld = 1 << 20

// chunks is the reading side of a provider.Stream.
type chunks interface {
	Next() (*provider.Chunk, error)
}

// source is a stream that has begun to answer.
type source struct {
	head  []*provider.Chunk // already read
	in    chunks
	ended bool // in has returned io.EOF
}

// begins reads a stream until it has content, but writes nothing: up to there
// the attempt can fail and another one take its place.
func begins(a *attempt, in chunks) (source, error) {
	s := source{in: in}
	held := 0
	for !a.judge.Said() || len(s.head) == 0 {
		chunk, err := in.Next()
		if errors.Is(err, io.EOF) {
			s.ended = true
			return s, nil
		}
		if err != nil {
			return s, err
		}
		c := *chunk
		c.Raw, c.Native, c.Event = slices.Clone(chunk.Raw), slices.Clone(chunk.Native), slices.Clone(chunk.Event)
		s.head = append(s.head, &c)
		if held += len(c.Raw) + len(c.Native); held > maxHeld {
			break
		}
	}
	return s, nil
}

func (s *source) next() (*provider.Chunk, error) {
	switch {
	case len(s.head) > 0:
		chunk := s.head[0]
		s.head = s.head[1:]
		return chunk, nil
	case s.ended:
		return nil, io.EOF
	}
	return s.in.Next()
}

// stream makes a call and streams the answer.
func (c *call) stream() error {
	c.out = newChunkWriter(c)
	defer c.out.close()
	a, err := c.try()
	if err != nil {
		if c.out.stream.Stop() {
			c.stage = stageBegun // by a keep-alive
		}
		return c.cut(err)
	}
	c.answers(a)
	src := a.source
	for {
		err := c.pump(&src)
		if _, spent := errors.AsType[*budgetError](err); spent {
			err = c.out.stop(err)
			if err == nil {
				return nil
			}
			return c.cut(err)
		}
		if err == nil {
			err = c.out.finish()
		}
		if err == nil {
			return nil
		}
		if src, err = c.rescue(err); err != nil {
			return c.cut(err)
		}
	}
}

// pump passes chunks on until the answer is complete. The writer gathers them
// until the next read would block, see beforeRead.
func (c *call) pump(src *source) error {
	for {
		chunk, err := src.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = c.count(c.answering, chunk)
		}
		if err == nil {
			err = c.out.write(chunk)
		}
		if err != nil {
			return c.interrupted(chunk, err)
		}
	}
}

// interrupted flushes the chunks before err, and returns err. chunk was read but
// not written; nil if reading failed.
func (c *call) interrupted(chunk *provider.Chunk, err error) error {
	if chunk != nil && chunk.Native == nil {
		c.out.shape(chunk.Raw)
	}
	_ = c.out.flush() // if the client is gone, this has cancelled the call
	return err
}

// beforeRead is called before each read that may block. It flushes, so that no
// chunk waits for the next one.
func (a *attempt) beforeRead() {
	if a.c.out != nil {
		_ = a.c.out.flush() // if the client is gone, this has cancelled the call
	}
	a.stall.waiting()
}

// cut ends a stream that failed. Once the answer has begun, it sends an error
// frame without [DONE], so that the answer does not look complete.
func (c *call) cut(err error) error {
	if c.stage == stageWaiting {
		return c.failed(err)
	}
	e := c.reported(err)
	c.out.fail(e)
	return e
}

// reported returns the failure to be reported within a stream. A provider that began to
// answer has accepted the request, so a reason that blames the request is not passed on.
func (c *call) reported(err error) *apierror.Error {
	err = c.failed(err)
	e := apierror.From(err)
	switch reasonOf(err) {
	case provider.ReasonInvalid, provider.ReasonContextLength, provider.ReasonModel:
		e = apierror.AIError().Because(err)
	}
	c.x.Rec.ErrorCode = e.Code
	c.stage = stageFailed
	return e
}
