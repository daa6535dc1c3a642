package provider

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Judge decides whether what a provider said is an answer, for streams and for
// documents. It is used for one answer.
type Judge struct {
	// Choices is how many were asked for: 1 if it is 0.
	Choices int

	content  bool
	finished bool // the first choice has its finish reason
	finishes int  // choices that have one
}

// errNothing says that an answer has ended without saying anything.
var errNothing = errors.New("the answer says nothing: it has neither output nor a finish reason")

// Hear takes in a chunk or a document. It returns the failure that it reports, if
// any. What comes after the last finish reason cannot undo the answer.
func (j *Judge) Hear(f *Facts) error {
	if f.Failure != nil && !j.Complete() {
		return f.Failure
	}
	j.content = j.content || f.Content
	j.finished = j.finished || f.FinishReason != ""
	j.finishes += f.Finishes
	return nil
}

// Said reports whether the provider has begun to answer, or has finished.
func (j *Judge) Said() bool { return j.content || j.finishes > 0 }

// Complete reports whether all choices have their finish reason.
func (j *Judge) Complete() bool { return j.finished && j.finishes >= max(j.Choices, 1) }

// End returns an error if what has ended is not an answer.
func (j *Judge) End() error {
	if j.Said() {
		return nil
	}
	return BadAnswer(errNothing)
}

// Lost returns what a stream ends with when an event cannot be read although it
// begins like one of the answer's: ErrCut, since a piece of the answer is missing,
// or io.EOF if the answer had finished before. It returns nil for noise, which can be
// skipped.
func Lost(event []byte, finished bool) error {
	switch {
	case !bytes.HasPrefix(bytes.TrimLeft(event, " \t\r\n\ufeff"), []byte("{")):
		return nil
	case finished:
		return io.EOF
	}
	return fmt.Errorf("%w: an event is not whole", ErrCut)
}

// LingerTimeout is how long a stream may take to end after its last finish reason.
// Its usage comes in that time.
const LingerTimeout = time.Second

// JudgeDocument returns an error if a document is not an answer to a request for
// this many choices.
func JudgeDocument(f *Facts, choices int) error {
	j := Judge{Choices: choices}
	if most := max(choices, 1); f.Choices > most {
		return BadAnswer(fmt.Errorf("the answer has %d choices, %d asked for", f.Choices, most))
	}
	if err := j.Hear(f); err != nil {
		return err
	}
	return j.End()
}

// failedFinishes are the finish reasons of answers that failed on their server, in
// lower case: OpenRouter, Mistral and Text Generation Inference say error, vLLM and
// SGLang abort, DeepSeek insufficient_system_resource, GLM network_error, watsonx
// cancelled.
var failedFinishes = map[string]bool{
	"error": true, "server_error": true, "internal_error": true, "failed": true, "failure": true,
	"abort": true, "aborted": true, "cancelled": true, "canceled": true, "interrupted": true,
	"insufficient_system_resource": true, "timeout": true, "network_error": true, "overloaded": true,
}

// isFailure reports whether a finish reason says that the answer failed.
func isFailure(finish string) bool { return failedFinishes[strings.ToLower(finish)] }

// failureOf returns the failure that a choice reports: in an error of its own, of
// its delta or message, or as a finish reason, or nil.
func failureOf(choice, output gjson.Result, finish string) *Error {
	for _, e := range [...]gjson.Result{choice.Get("error"), output.Get("error")} {
		switch {
		case e.IsObject() && e.Raw != "{}":
			return errorOf(readError(e))
		case e.Type == gjson.String && e.Str != "":
			return errorOf(reported{message: e.Str})
		}
	}
	if isFailure(finish) {
		return &Error{Reason: ReasonUnavailable, Overloaded: strings.EqualFold(finish, "overloaded"), Err: fmt.Errorf("the answer ended with the finish reason %q", finish)}
	}
	return nil
}

// errorOf returns the failure that a provider reported within an answer. The
// provider had accepted the request, so a reason that blames it is not believed.
func errorOf(e reported) *Error {
	reason := reasonOf(e.status, e)
	if reason != ReasonRateLimited && reason != ReasonContentFiltered {
		reason = ReasonUnavailable
	}
	return &Error{
		Reason: reason, Overloaded: reason == ReasonUnavailable && e.overloaded(e.status),
		Status: e.status, Message: e.message, RetryAfter: e.retryAfter,
	}
}
