/* What is done to cameras in the guest, without starting a process for it: one costs up to a
 * second on an emulated machine, and tells when it was over rather than when it happened.
 *
 * In, a line each: `DRIVER WHAT VALUE`, where WHAT is a control's number, or `unplug` (1 or 0),
 * or `node`. Out, a line each: `BEGAN ENDED NODE RESULT`, seconds of wall time, the node's name
 * or `-`, and `done` or why not.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_REALTIME, &at);
	return at.tv_sec + at.tv_nsec / 1e9;
}

/* `video2` of the driver's only device, or an empty name. */
static void find(const char *driver, char *node, size_t size)
{
	char path[256];
	struct dirent *entry;

	node[0] = 0;
	snprintf(path, sizeof(path), "/sys/bus/platform/devices/%s.0/video4linux", driver);
	DIR *dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, "video", 5))
			snprintf(node, size, "%s", entry->d_name);
	closedir(dir);
}

static int bound(const char *driver)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/bus/platform/drivers/%s/%s.0", driver, driver);
	return !access(path, F_OK);
}

static int plug(const char *driver, int in)
{
	char path[256], device[80];

	if (bound(driver) == in)
		return 0;
	snprintf(path, sizeof(path), "/sys/bus/platform/drivers/%s/%s", driver, in ? "bind" : "unbind");
	int fd = open(path, O_WRONLY);
	if (fd < 0)
		return errno;
	int size = snprintf(device, sizeof(device), "%s.0", driver);
	int failed = write(fd, device, size) < 0 ? errno : 0;
	close(fd);
	return failed;
}

static int set(const char *node, unsigned int id, int value)
{
	char path[300];
	struct v4l2_control control = {.id = id, .value = value};

	snprintf(path, sizeof(path), "/dev/%s", node);
	int fd = open(path, O_RDWR);
	if (fd < 0)
		return errno;
	int failed = ioctl(fd, VIDIOC_S_CTRL, &control) < 0 ? errno : 0;
	close(fd);
	return failed;
}

int main(void)
{
	char line[256], driver[64], what[64], node[256];
	int value;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		int failed = EINVAL;
		double began = now();
		if (sscanf(line, "%63s %63s %d", driver, what, &value) == 3) {
			if (!strcmp(what, "unplug")) {
				failed = plug(driver, !value);
			} else {
				find(driver, node, sizeof(node));
				failed = !node[0] ? ENODEV : 0;
				if (!failed && strcmp(what, "node"))
					failed = set(node, strtoul(what, NULL, 0), value);
			}
		}
		double ended = now();
		find(driver, node, sizeof(node));
		printf("%.6f %.6f %s %s\n", began, ended, node[0] ? node : "-",
		       failed ? strerror(failed) : "done");
	}
	return 0;
}
