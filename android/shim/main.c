/* nnapi-shim: answers requests (protocol.h) from its standard input on its standard output. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "stream.h"

enum { EXIT_USAGE = 2, LOG_MODE = 0600, ABOVE_STANDARD = 10 };

static const char USAGE[] =
    "usage: nnapi-shim [--library PATH] [--log PATH] [--no-supervisor] | --version | --self-test [--library PATH]\n"
    "Answers framed requests from standard input on standard output. --library: the libneuralnetworks.so to load\n"
    "(default: the system's). --log: where prints of drivers go (default: nowhere).\n";

typedef struct {
  const char *library, *log;
  bool version, self_test, alone;
} Options;

static void print(const char *text) { (void)!write(STDOUT_FILENO, text, strlen(text)); }

static bool parse(int count, char **arguments, Options *options) {
  for (int i = 1; i < count; i++) {
    const char *argument = arguments[i];
    const char **value = strcmp(argument, "--library") == 0 ? &options->library : strcmp(argument, "--log") == 0 ? &options->log : NULL;
    if (value != NULL) {
      if (++i == count) return false;
      *value = arguments[i];
    } else if (strcmp(argument, "--version") == 0) {
      options->version = true;
    } else if (strcmp(argument, "--self-test") == 0) {
      options->self_test = true;
    } else if (strcmp(argument, "--no-supervisor") == 0) {
      options->alone = true;
    } else {
      return false;
    }
  }
  return true;
}

/* Takes standard input and output away from everybody else: what a driver prints must not get between the frames. */
static bool take_streams(const char *log, int *in, int *out) {
  *in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, ABOVE_STANDARD);
  *out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, ABOVE_STANDARD);
  int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
  int prints = log != NULL ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, LOG_MODE) : nowhere;
  if (*in < 0 || *out < 0 || nowhere < 0 || prints < 0) return false;
  bool fine = dup2(nowhere, STDIN_FILENO) >= 0 && dup2(prints, STDOUT_FILENO) >= 0 && dup2(prints, STDERR_FILENO) >= 0;
  if (prints != nowhere) close(prints);
  close(nowhere);
  return fine;
}

int main(int count, char **arguments) {
  Options options = {0};
  int in, out;
  if (!parse(count, arguments, &options)) {
    print(USAGE);
    return EXIT_USAGE;
  }
  if (options.version) {
    char line[160];
    snprintf(line, sizeof line, "nnapi-shim protocol %d build %s\n", NTK_PROTOCOL_VERSION, ntk_build_hash());
    print(line);
    return 0;
  }
  if (options.self_test) return ntk_self_test(options.library, print) ? 0 : 1;
  signal(SIGPIPE, SIG_IGN);
  if (!take_streams(options.log, &in, &out)) {
    print("nnapi-shim: the streams or the log cannot be opened\n");
    return EXIT_USAGE;
  }
  if (!options.alone) return ntk_supervise(in, out, options.library);
  static NtkWatch watch;
  return ntk_serve(in, out, options.library, &watch);
}
