package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// pids returns the program and its children, in which nginx works.
func (p *process) pids() []string {
	pid := strconv.Itoa(p.cmd.Process.Pid)
	pids := []string{pid}
	lists, _ := filepath.Glob("/proc/" + pid + "/task/*/children")
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		pids = append(pids, strings.Fields(string(children))...)
	}
	return pids
}

// cpu returns the program's CPU time. It is exact while no thread runs, as before
// and after a load.
func (p *process) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.pids() {
		threads, _ := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
		if threads == nil {
			return 0, errors.Join(p.ended(), fmt.Errorf("no /proc/%s/task/*/schedstat: the benchmark needs Linux", pid))
		}
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			if err != nil {
				return 0, err
			}
			ran, _, _ := strings.Cut(string(stat), " ")
			ns, err := strconv.ParseInt(ran, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", thread, err)
			}
			sum += time.Duration(ns)
		}
	}
	return sum, nil
}

// rss returns the program's resident memory in bytes.
func (p *process) rss() (float64, error) { return p.status("VmRSS:") }

// mostRSS returns the most that rss was since the start.
func (p *process) mostRSS() (float64, error) { return p.status("VmHWM:") }

// status returns a figure of /proc/<pid>/status in bytes.
func (p *process) status(name string) (float64, error) {
	var sum float64
	for _, pid := range p.pids() {
		file := "/proc/" + pid + "/status"
		status, err := os.ReadFile(file)
		if err != nil {
			return 0, errors.Join(p.ended(), err)
		}
		_, rest, ok := strings.Cut(string(status), name)
		if !ok {
			return 0, fmt.Errorf("%s: no %s", file, name)
		}
		kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		sum += kib * 1024
	}
	return sum, nil
}

// sockets returns how many sockets the program has open.
func (p *process) sockets() int {
	n := 0
	for _, pid := range p.pids() {
		files, _ := filepath.Glob("/proc/" + pid + "/fd/*")
		for _, file := range files {
			if to, _ := os.Readlink(file); strings.HasPrefix(to, "socket:") {
				n++
			}
		}
	}
	return n
}
