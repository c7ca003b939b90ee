/* Keeps namespaces open: those of a pod, and those of the node's sandbox. Exits on SIGTERM and SIGINT, and reaps
 * orphaned processes, as process 1 must. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void terminate(int signal) {
  (void)signal;
  _exit(0);
}

static void reap(int signal) {
  (void)signal;
  while (waitpid(-1, 0, WNOHANG) > 0) {
  }
}

int main(void) {
  struct sigaction on_stop = {.sa_handler = terminate}, on_child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
  sigaction(SIGTERM, &on_stop, 0);
  sigaction(SIGINT, &on_stop, 0);
  sigaction(SIGCHLD, &on_child, 0);
  for (;;) pause();
}
