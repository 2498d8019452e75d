# The perception node on a CPU (Ubuntu 24.04, ROS 2 Jazzy), and a USB camera's driver to try it with.
#
#   docker compose -f docs/docker/cpu.compose.yaml up --build       # camera and node
#
#   docker build -f docs/docker/cpu.Dockerfile -t gaussian_yolo:cpu .
#   docker run --rm -it --network host --ipc host gaussian_yolo:cpu gaussian-yolo doctor
FROM ros:jazzy-ros-base-noble AS camera

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ros-jazzy-usb-cam \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --groups video camera
USER camera
CMD ["ros2", "run", "usb_cam", "usb_cam_node_exe", "--ros-args", "-r", "__ns:=/camera"]

FROM ros:jazzy-ros-base-noble AS node

ENV LANG=C.UTF-8 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_CACHE_DIR=1
WORKDIR /ws
COPY package.xml src/gaussian_yolo/package.xml
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip \
    && rosdep update --rosdistro jazzy \
    && rosdep install --from-paths src --ignore-src -y -t exec --rosdistro jazzy \
    && rm -rf /var/lib/apt/lists/* /root/.ros

# The faster runtime on Intel's and AMD's processors; rosdep has no key for it.
RUN python3 -m pip install --no-cache-dir 'openvino==2025.4.1'

COPY . src/gaussian_yolo
RUN bash -c "source /opt/ros/jazzy/setup.bash && colcon build --packages-select gaussian_yolo" \
    && useradd --create-home --groups video perception
ENV PATH=/ws/install/gaussian_yolo/lib/gaussian_yolo:$PATH

COPY docs/docker/entrypoint.sh /entrypoint.sh
USER perception
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "gaussian_yolo", "perception.launch.py"]
