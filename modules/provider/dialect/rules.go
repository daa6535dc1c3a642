package dialect

import "regexp"

// Rules are what the servers of a dialect require of a request. Parse makes
// every conversation comply with them, so that a history which one provider took
// is taken by the next.
type Rules struct {
	// Members names the members of the body that the adapter carries over. All
	// others are dropped, and noted in the request, or refused if the answer
	// would not be what was asked for.
	Members []string

	// ToolName matches the names of tools that the servers accept; nil if they
	// accept any.
	ToolName *regexp.Regexp

	// PlainObjects says that the servers refuse allOf, anyOf and oneOf at the top
	// of the schema of a tool's parameters.
	PlainObjects bool

	// UserBegins says that a conversation must have something to answer, and
	// that the user has to say it first.
	UserBegins bool

	// NoBlanks says that the servers refuse text and stop sequences of white
	// space alone, and white space at the end of an assistant's last message.
	NoBlanks bool

	// Signed says that the model's signed thinking goes back to it, Plain that
	// readable reasoning does, and Google that Google's signatures of tool calls
	// do. What does not go back is noted in the request.
	Signed, Plain, Google bool

	// Marks says that marks for the prompt cache go to the servers, and Failures that
	// these are told which tools have failed. Elsewhere the result says it.
	Marks, Failures bool
}

// FailedResult precedes the result of a tool that has failed, for APIs without a member
// for that.
const FailedResult = "(the tool has failed)\n"

// ToolNames are the names of tools that the Messages API and Bedrock accept.
var ToolNames = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
